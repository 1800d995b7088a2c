//! A client as small as can be: one request a connection, and the WebSocket of ends. Everything waits on the connection
//! for at most [`WAIT_MAX`]; nothing sleeps.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, WebSocket};

/// How long an answer may take, far longer than on a busy machine: a test that would hang fails.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Somebody who calls: where, and with which token if any.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<&'a str>,
}

impl Client<'_> {
    /// `GET path`: the status code and the body.
    pub(crate) fn get(self, path: &str) -> (u16, Value) {
        self.call("GET", path, "")
    }

    /// `POST path` with a body.
    pub(crate) fn post(self, path: &str, body: &Value) -> (u16, Value) {
        self.call("POST", path, &body.to_string())
    }

    /// Makes the job: its id.
    pub(crate) fn make(self, job: &Value) -> String {
        let (code, made) = self.post("/v1/jobs", job);
        assert_eq!(code, 201, "{made}");
        made["id"].as_str().expect("ids are strings").to_owned()
    }

    /// The job as it is shown.
    pub(crate) fn job(self, id: &str) -> Value {
        let (code, job) = self.get(&format!("/v1/jobs/{id}"));
        assert_eq!(code, 200, "{job}");
        job
    }

    /// The ends of this user's jobs, from the very first on.
    pub(crate) fn ends(self) -> Ends {
        let url = format!("ws://{}/v1/events?after=0", self.address);
        let mut request = url.into_client_request().expect("the address makes a URL");
        if let Some(token) = self.token {
            let bearer = format!("Bearer {token}").parse().expect("tokens are ASCII");
            request.headers_mut().insert("authorization", bearer);
        }
        let (mut socket, _) = tungstenite::client(request, self.connect()).expect("kew takes the WebSocket");
        let hello = text(&mut socket);
        assert_eq!(hello, json!({ "hello": { "seq": 0 } }));
        Ends(socket)
    }

    /// Waits until `jobs` have ended: the status that each ended with, as their user is told.
    pub(crate) fn told(self, jobs: &[String]) -> BTreeMap<String, String> {
        let mut ends = self.ends();
        let mut told = BTreeMap::new();
        while !jobs.iter().all(|job| told.contains_key(job)) {
            let end = ends.next();
            let word = |name: &str| end[name].as_str().expect("an end has words").to_owned();
            told.insert(word("job"), word("status"));
        }
        told
    }

    fn call(self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let Self { address, token } = self;
        let bearer = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{bearer}");
        let mut stream = self.connect();
        write!(stream, "{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
            .expect("kew takes the request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("kew answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head and a body");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("an answer has a code");
        (code, serde_json::from_str(body).unwrap_or_else(|error| panic!("{method} {path}: {error}\n{answer}")))
    }

    fn connect(self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("kew listens");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("the wait is not zero");
        stream
    }
}

/// An open WebSocket.
pub(crate) struct Ends(WebSocket<TcpStream>);

impl Ends {
    /// Waits for the next end.
    pub(crate) fn next(&mut self) -> Value {
        text(&mut self.0)
    }
}

fn text(socket: &mut WebSocket<TcpStream>) -> Value {
    loop {
        match socket.read().expect("kew goes on telling") {
            tungstenite::Message::Text(text) => return serde_json::from_str(&text).expect("it tells JSON"),
            tungstenite::Message::Close(why) => panic!("kew closed the WebSocket: {why:?}"),
            _ => {}
        }
    }
}
