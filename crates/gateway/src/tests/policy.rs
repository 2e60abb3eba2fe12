//! What the operator's policy refuses.

use doorward_policy::{Question, Refusal};

use super::*;

/// Refuses `t_admin` to everybody.
#[derive(Debug)]
struct NoAdmin;

impl Policy for NoAdmin {
    fn objection(&self, question: &Question<'_>) -> Option<Refusal> {
        let object = question.object.map(doorward_policy::Object::name);
        (object == Some("t_admin")).then_some(Refusal::DeniedByPolicy { policies: vec![] })
    }
}

#[tokio::test]
async fn a_call_that_policy_refuses_is_a_403_without_a_scope_challenge() {
    let upstream = Arc::new(Script::default());
    let address = upstream.listen().await;
    let servers = vec![unlimited(
        Arc::new(server("a")),
        Upstream::http(&format!("http://{address}/up")).unwrap(),
    )];
    let fixture = Fixture::under(Arc::new(NoAdmin), upstream, &settings(), servers);
    let refused = fixture
        .post("alice", &CALL.replace("t_read", "t_admin"), &[])
        .await;
    assert_eq!(refused.status(), 403);
    assert!(refused.headers().get("www-authenticate").is_none());
    let body = error(refused).await;
    assert_eq!(body["id"], 7);
    assert_eq!(body["error"]["code"], 403);
    assert_eq!(body["error"]["data"]["reason"], "denied_by_policy");
    assert!(body["error"]["data"].get("scopes").is_none());
    assert_eq!(fixture.upstream.seen().len(), 0);

    assert_eq!(fixture.post("alice", CALL, &[]).await.status(), 200);
    assert_eq!(fixture.upstream.seen().len(), 1);
}
