//! The far broker over a real network: what goes in comes out.

use std::sync::Arc;

use kew_runtime::api::serve;
use kew_runtime::broker::{Pull, Pulled, Queue, Refusal, Remote, Report, Request, Response, Settlement};
use kew_runtime::net::{Net, TokioNet};
use kew_runtime::store::{Query, Rows};
use serde_json::value::RawValue;

use crate::cloudflare::granted;
use crate::world::{OPERATOR, PROCESSOR, World};

async fn served(world: &World) -> String {
    let listener = TokioNet.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, world.router.clone(), std::future::pending()));
    url
}

fn as_operator(url: &str) -> Remote {
    Remote::new(Arc::new(TokioNet), url, Some(OPERATOR.into()))
}

fn as_processor(url: &str) -> Remote {
    Remote::for_processor(Arc::new(TokioNet), url, Some(PROCESSOR.into()))
}

#[tokio::test]
async fn a_pull_comes_out_as_the_broker_granted_it_by_either_way() {
    let world = World::new();
    let mut second = granted("email_notification");
    second.delivery.id = "d-2".into();
    let pulled =
        Pulled { deliveries: vec![granted("email_notification"), second], revoked: vec!["d-0".into()], waited_ms: 8 };
    world.fake.state().pulled = pulled.clone();
    let url = served(&world).await;
    let pull = Pull {
        processor: "p".into(),
        queues: vec!["email_notification".into()],
        slots: 2,
        holding: vec!["d-0".into()],
        ..Pull::default()
    };
    for remote in [as_operator(&url), as_processor(&url)] {
        let Ok(Response::Pulled(got)) = remote.call(Request::Pull(pull.clone())).await else { panic!("not pulled") };
        assert_eq!(format!("{got:?}"), format!("{pulled:?}"));
    }
    let asked = world.fake.state().asked.clone();
    assert_eq!(asked, [format!("{:?}", Request::Pull(pull.clone())), format!("{:?}", Request::Pull(pull))]);
}

#[tokio::test]
async fn a_settle_says_of_each_lease_in_order_whether_it_held() {
    let world = World::new();
    let url = served(&world).await;
    let [stale, held] = [0, 1].map(|i| granted("pdf_generation").leases[i].clone());
    let settle = vec![
        Settlement { lease: stale, outcome: Report::Failed { error: "e".into(), delay_ms: Some(1_500) } },
        Settlement { lease: held.clone(), outcome: Report::Completed { result: RawValue::TRUE.to_owned() } },
    ];
    let (operator, processor) = (as_operator(&url), as_processor(&url));
    for remote in [&operator, &processor] {
        world.fake.state().leases.insert(held.to_string());
        let Ok(Response::Settled(got)) = remote.call(Request::Settle(settle.clone())).await else {
            panic!("not settled")
        };
        assert_eq!(got, [false, true]);
    }
    let asked = world.fake.state().asked.clone();
    assert_eq!(asked[0], format!("{:?}", Request::Settle(settle)), "an operator's goes as it is");
    assert!(asked[1].contains("delay_ms: Some(2000)"), "a processor's goes in Cloudflare's shape: {}", asked[1]);
}

#[tokio::test]
async fn an_operators_pull_is_not_bound_by_what_a_processor_may_ask() {
    let world = World::new();
    let url = served(&world).await;
    let pull = Request::Pull(Pull { slots: 100_000, ..Pull::default() });
    assert!(matches!(as_operator(&url).call(pull.clone()).await, Ok(Response::Pulled(_))));
    let refused = as_processor(&url).call(pull).await;
    assert!(matches!(&refused, Err(Refusal::Invalid(why)) if why.contains("slots is 100000")), "{refused:?}");
}

#[tokio::test]
async fn a_refusal_arrives_as_it_was_made() {
    let world = World::new();
    let url = served(&world).await;
    let cancel = Request::Cancel { job: "none".into(), user: None };
    let refusal = as_operator(&url).call(cancel.clone()).await.unwrap_err();
    assert_eq!(refusal, Refusal::NotFound("there is no job none".into()));
    let refusal = as_processor(&url).call(cancel).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::Invalid(text) if text.contains("operator")), "{refusal:?}");
    world.fake.state().away = true;
    let refusal = as_processor(&url).call(Request::Pull(Pull::default())).await.unwrap_err();
    assert_eq!(refusal, Refusal::Unavailable("the broker is away".into()));
    let nobody = as_operator("http://127.0.0.1:1").call(Request::Read(Query::Told)).await.unwrap_err();
    assert!(matches!(nobody, Refusal::Unavailable(_)));
}

#[tokio::test]
async fn questions_and_waits_for_ends_are_answered_from_afar() {
    let world = World::new();
    let url = served(&world).await;
    let remote = as_operator(&url);
    let waiting = remote.call(Request::Ends { after: 0, wait_ms: 10_000 });
    let (got, seq) = tokio::join!(waiting, async {
        tokio::task::yield_now().await;
        world.fake.end("ann", "j-1", None)
    });
    let Ok(Response::Rows(Rows::Ends(ends))) = got else { panic!("no ends") };
    assert_eq!(ends[0].seq, seq);
    let Ok(Response::Rows(Rows::Told { newest, .. })) = remote.call(Request::Read(Query::Told)).await else {
        panic!("not told")
    };
    assert_eq!(newest, 1);
}
