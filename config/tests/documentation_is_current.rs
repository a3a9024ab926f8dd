use std::path::Path;

use bytecave_config::markdown_table;

/// The table of keys in the documentation is the one made from the code and `default.toml`.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "no setting of a node, but a switch of this test"
)]
fn documentation_has_the_table_of_all_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once("<!-- keys:begin -->\n").unwrap();
    let (table, tail) = rest.split_once("<!-- keys:end -->").unwrap();
    let current = format!("{}\n\n", markdown_table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{head}<!-- keys:begin -->\n{current}<!-- keys:end -->{tail}");
        std::fs::write(&path, text).unwrap();
        return;
    }
    assert_eq!(
        table, current,
        "run with UPDATE_DOCS=1 and commit the result"
    );
}
