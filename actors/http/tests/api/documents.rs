//! The documents that are kept beside the code say what the code says.

use std::collections::{BTreeMap, BTreeSet};

use bytecave_http::{Endpoint, openapi_json};
use serde_json::Value;

use crate::node::Node;

/// `BLESS=1 cargo test -p bytecave-http documents` writes the file anew.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "asks whoever runs the test, not the node"
)]
fn the_checked_in_openapi_document_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, openapi_json()).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(
        kept == openapi_json(),
        "docs/openapi.json is not what the code says: run this test with BLESS=1 and look at the difference"
    );
}

#[test]
fn the_document_names_the_routes_and_methods_there_are() {
    let document: Value = serde_json::from_str(openapi_json()).unwrap();
    let documented: BTreeMap<String, BTreeSet<String>> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            (
                path.clone(),
                methods.map(|method| method.to_uppercase()).collect(),
            )
        })
        .collect();
    let served: BTreeMap<String, BTreeSet<String>> = Endpoint::ALL
        .into_iter()
        .filter(|endpoint| *endpoint != Endpoint::Unmatched)
        .map(|endpoint| {
            let methods = endpoint.allow().split(", ");
            let methods = methods.filter(|method| !matches!(*method, "OPTIONS" | "HEAD"));
            (
                endpoint.pattern().to_owned(),
                methods.map(str::to_owned).collect(),
            )
        })
        .collect();
    assert_eq!(documented, served);
}

#[actix::test]
async fn the_document_is_served() {
    let node = Node::up().await;
    let answer = node.get("/openapi.json").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.text(), openapi_json());
    assert!(answer.json()["openapi"].as_str().unwrap().starts_with("3."));
}
