//! The notifier: its WebSocket over a real network, and its mails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kew_runtime::api::serve;
use kew_runtime::ids::Ids;
use kew_runtime::net::{Net, TokioNet};
use kew_runtime::notify::{Notifier, State, router};
use kew_spec::queues::Queues;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::fake::Fake;
use crate::world::{ANN, BEN, PROCESSOR, Still, access};

type Socket = WebSocketStream<TcpStream>;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn served(fake: &Arc<Fake>) -> SocketAddr {
    let notifier = Notifier::new(fake.clone(), Arc::new(Queues::default()), Ids::from_seed(3), Arc::new(Still));
    let state = State::new(fake.clone(), access(), notifier.sessions());
    tokio::spawn(notifier.run());
    let listener = TokioNet.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router(state), std::future::pending()));
    address
}

async fn connect(address: SocketAddr, query: &str, token: &str) -> Result<Socket, Error> {
    let mut request = format!("ws://{address}/v1/events{query}").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    client_async(request, stream).await.map(|(socket, _)| socket)
}

async fn next(socket: &mut Socket) -> Value {
    let message = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    let Message::Text(text) = message else { panic!("{message:?}") };
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_session_hears_of_its_users_ends_and_of_no_others() {
    let fake = Arc::new(Fake::default());
    fake.end("ann", "before", None);
    let address = served(&fake).await;
    let mut ann = connect(address, "", ANN).await.unwrap();
    let mut second = connect(address, "", ANN).await.unwrap();
    let mut ben = connect(address, "", BEN).await.unwrap();
    for socket in [&mut ann, &mut second, &mut ben] {
        assert_eq!(next(socket).await, json!({ "hello": { "seq": 1 } }));
    }
    fake.end("ann", "j-1", None);
    fake.end("ben", "j-2", None);
    let expected = json!({
        "seq": 2, "job": "j-1", "type": "pdf_generation", "status": "failed", "error": "broken",
        "dead_letter_queue": "pdf_generation_dlq", "ended_at": "2026-11-24T02:42:51.007Z",
    });
    assert_eq!(next(&mut ann).await, expected);
    assert_eq!(next(&mut second).await, expected);
    assert_eq!(next(&mut ben).await["job"], "j-2");
}

#[tokio::test]
async fn a_session_resumes_without_a_gap() {
    let fake = Arc::new(Fake::default());
    let address = served(&fake).await;
    let mut first = connect(address, "", ANN).await.unwrap();
    next(&mut first).await;
    fake.end("ann", "j-1", None);
    assert_eq!(next(&mut first).await["seq"], 1);
    drop(first);
    for (user, job) in [("ann", "j-2"), ("ben", "j-3"), ("ann", "j-4"), ("ann", "j-5")] {
        fake.end(user, job, None);
    }
    let mut again = connect(address, "?after=1", ANN).await.unwrap();
    assert_eq!(next(&mut again).await, json!({ "hello": { "seq": 1 } }));
    fake.end("ann", "j-6", None);
    for job in ["j-2", "j-4", "j-5", "j-6"] {
        assert_eq!(next(&mut again).await["job"], job);
    }
}

#[tokio::test]
async fn a_session_does_not_go_on_where_ends_are_not_kept_any_more() {
    let fake = Arc::new(Fake::default());
    for n in 1..=4 {
        fake.end("ann", &format!("j-{n}"), None);
    }
    fake.state().ends_forgotten = 2;
    let address = served(&fake).await;
    for after in [0, 1] {
        let refused = connect(address, &format!("?after={after}"), ANN).await;
        let Err(Error::Http(response)) = refused else { panic!("after {after}: {refused:?}") };
        assert_eq!(response.status().as_u16(), 410);
    }
    let mut kept = connect(address, "?after=2", ANN).await.unwrap();
    assert_eq!(next(&mut kept).await, json!({ "hello": { "seq": 2 } }));
    assert_eq!(next(&mut kept).await["job"], "j-3");
    fake.state().ends_forgotten = 4;
    let Err(Error::Http(response)) = connect(address, "?after=3", ANN).await else { panic!("all are forgotten") };
    assert_eq!(response.status().as_u16(), 410);
    connect(address, "?after=4", ANN).await.unwrap();
}

#[tokio::test]
async fn a_session_that_makes_no_sense_is_refused_before_it_begins() {
    let fake = Arc::new(Fake::default());
    let address = served(&fake).await;
    for (query, token, status) in [
        ("", "nobody", 401),
        ("", PROCESSOR, 403),
        ("?after=x", ANN, 400),
        ("?after=1", ANN, 400),
        ("?from=1", ANN, 400),
    ] {
        let Err(Error::Http(response)) = connect(address, query, token).await else { panic!("{query} {token}") };
        assert_eq!(response.status().as_u16(), status, "{query} {token}");
    }
}

#[tokio::test]
async fn a_user_has_no_more_sessions_than_allowed() {
    let fake = Arc::new(Fake::default());
    let address = served(&fake).await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(connect(address, "", ANN).await.unwrap());
    }
    let Err(Error::Http(response)) = connect(address, "", ANN).await else { panic!("one too many") };
    assert_eq!(response.status().as_u16(), 429);
    connect(address, "", BEN).await.unwrap();
}

#[tokio::test]
async fn an_end_with_an_address_makes_one_mail_and_then_moves_the_cursor() {
    let fake = Arc::new(Fake::default());
    fake.end("ann", "j-1", None);
    fake.end("ann", "j-2", Some("ann@example.org"));
    fake.state().lost_answers = 1;
    let address = served(&fake).await;
    let mut ann = connect(address, "", ANN).await.unwrap();
    next(&mut ann).await;
    let mails = async {
        while fake.state().told < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, mails).await.unwrap();
    let state = fake.state();
    let [mail] = &state.jobs[..] else { panic!("{:?}", state.jobs) };
    assert_eq!((mail.queue.as_str(), mail.user_id.as_str()), ("email_notification", "ann"));
    let payload: Value = serde_json::from_str(mail.payload.get()).unwrap();
    assert_eq!(payload["to"], "ann@example.org");
    assert_eq!(payload["subject"], "Your job pdf_generation has failed");
    assert!(payload["text"].as_str().unwrap().contains("broken"));
    assert!(state.keys.contains_key(&("ann".into(), "kew-end-j-2-2".into())));
}
