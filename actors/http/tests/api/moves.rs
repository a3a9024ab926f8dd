//! `/admin/shards/plan` and `/admin/shards/apply`.

use bytecave_core::{NodeIdentity, PeerId};
use bytecave_messages::replicator::{MoveHolder, PlanError, ShardMove, ShardPlan};
use serde_json::{Value, json};

use crate::client::{Answer, Request};
use crate::fake_store::count;
use crate::node::{Node, TOKEN};

fn peer() -> PeerId {
    NodeIdentity::from_seed([1; 32]).unwrap().peer_id()
}

fn plan() -> ShardPlan {
    ShardPlan {
        factor: 3,
        hold: 86_400,
        shards: vec![ShardMove {
            shard: count().shard(3).unwrap(),
            owned: false,
            applied: true,
            blobs: 7,
            bytes: 7000,
            holders: vec![MoveHolder {
                peer_id: peer(),
                live: true,
                accepting: true,
                given: false,
            }],
            live: 1,
            given: 0,
            proved: 5,
            retired: 4,
            pinned: 1,
            waiting: Some("1 of 3 holders".to_owned()),
        }],
    }
}

async fn order(node: &Node, body: &Value) -> Answer {
    let request = Request::post("/admin/shards/apply", body.to_string().into_bytes());
    let request = request
        .token(TOKEN)
        .header("content-type", "application/json");
    node.send(request).await
}

#[actix::test]
async fn the_plan_is_told_to_holders_of_the_token() {
    let node = Node::up().await;
    let asked = || Request::get("/admin/shards/plan");
    node.send(asked()).await.problem(401, "token_required");
    let unknown = node.send(asked().token(TOKEN)).await;
    unknown.problem(503, "peers_unavailable");
    node.replicator.plans(Ok(plan()));
    let told = node.send(asked().token(TOKEN)).await;
    assert_eq!(told.status, 200);
    let told = told.json();
    assert_eq!(
        (&told["factor"], &told["hold"]),
        (&json!(3), &json!(86_400))
    );
    let row = &told["shards"][0];
    assert_eq!(row["waiting"], "1 of 3 holders");
    assert_eq!(row["holders"][0]["peerId"], peer().to_string());
}

#[actix::test]
async fn what_is_ordered_is_bounded_and_within_the_network() {
    let node = Node::up().await;
    node.replicator.plans(Ok(plan()));
    let last = u64::from(count().get()) - 1;
    let ranges = json!({"shards": [{"start": 1, "end": 3}, {"start": last, "end": last}]});
    assert_eq!(order(&node, &ranges).await.status, 200);
    let shard = |number| count().shard(number).unwrap();
    let wanted = vec![shard(1), shard(2), shard(3), shard(last)];
    assert_eq!(node.replicator.applied(), [wanted]);
    for wrong in [
        json!({"shards": [{"start": 0, "end": last + 1}]}),
        json!({"shards": [{"start": 3, "end": 1}]}),
        json!({"shards": [{"start": 0}]}),
        json!({"shards": [1]}),
        json!({"shards": [], "all": true}),
        json!({}),
    ] {
        order(&node, &wrong).await.problem(400, "bad_body");
    }
    let shard = shard(1);
    node.replicator.plans(Err(PlanError::NotInPlan { shard }));
    let refused = order(&node, &ranges).await.problem(409, "not_in_plan");
    assert_eq!(refused["shard"], 1);
    node.replicator.plans(Err(PlanError::NotWritten));
    order(&node, &ranges).await.problem(500, "store_failed");
}
