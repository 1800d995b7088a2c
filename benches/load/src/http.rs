//! Creates over HTTP: the API's own router on a loopback port, and connections that each wait for their answer before they
//! send the next request. The client does the least that HTTP needs, since it shares the machine with the server.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kew_runtime::api::{self, Access, Api};
use kew_runtime::clock::SystemClock;
use kew_runtime::ids::Ids;
use kew_runtime::net::{Net, TokioNet};
use kew_runtime::store::Synchronous;
use kew_spec::queues::Queues;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kew::{self, QUEUE, now};
use crate::work::PAYLOAD;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Creates {
    /// How many jobs.
    pub jobs: u32,
    /// How many of them one request makes.
    pub batch: u32,
    /// How many connections there are.
    pub connections: u32,
    /// What a commit survives.
    pub synchronous: Synchronous,
}

/// Creates jobs over HTTP in a new store in `folder` and says how long it took.
///
/// # Errors
///
/// If the network does not work or the API refuses a job.
pub async fn run(folder: &Path, it: Creates) -> io::Result<Duration> {
    let queues = Queues::default();
    let broker = kew::open(folder, queues.clone(), it.synchronous).map_err(io::Error::other)?;
    let (access, clock) = (Arc::new(Access::new(Vec::new())), Arc::new(SystemClock::new()));
    let api = Api::new(Arc::new(broker), Arc::new(queues), access, Ids::from_entropy(), clock);
    let listener = TokioNet.bind(([127, 0, 0, 1], 0).into()).await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(api::serve(listener, api::router(api), std::future::pending()));
    let request: Arc<[u8]> = request(it.batch).into();
    let mut open = Vec::new();
    for _ in 0..it.connections {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        open.push(stream);
    }
    let begun = now();
    let requests = it.jobs / it.batch;
    let clients = open.into_iter().zip(0..).map(|(stream, number)| {
        let share = requests / it.connections + u32::from(number < requests % it.connections);
        tokio::spawn(client(stream, request.clone(), share))
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.map_err(io::Error::other)??;
    }
    let took = begun.elapsed();
    server.abort();
    Ok(took)
}

/// A request for `batch` jobs.
fn request(batch: u32) -> Vec<u8> {
    let job = format!(r#"{{"type":"{QUEUE}","payload":{PAYLOAD}}}"#);
    let body = if batch == 1 { job } else { format!("[{}]", vec![job; batch as usize].join(",")) };
    let head = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nkew-user: user-1";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn client(mut stream: TcpStream, request: Arc<[u8]>, times: u32) -> io::Result<()> {
    let mut answer = Vec::with_capacity(16 * 1_024);
    for _ in 0..times {
        stream.write_all(&request).await?;
        answer.clear();
        while !is_whole(&answer) {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if !answer.starts_with(b"HTTP/1.1 201") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
        }
    }
    Ok(())
}

/// Whether `answer` has all the bytes that its `content-length` says.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    end + 4 + length <= answer.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        assert!(!is_whole(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{"));
        assert!(is_whole(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}"));
    }

    #[tokio::test]
    async fn jobs_are_created_over_http_singly_and_in_lists() {
        for batch in [1, 10] {
            let folder = tempfile::tempdir().unwrap();
            let it = Creates { jobs: 40, batch, connections: 4, synchronous: Synchronous::Normal };
            run(folder.path(), it).await.unwrap();
        }
    }
}
