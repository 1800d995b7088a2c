//! The e-mail handler, into files and against a small SMTP server that refuses and drops on demand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use common::{delivery, handle, job};
use kew_handlers::email::{Config, Mailer, Security};
use kew_runtime::processor::{Delivery, Failure, Job};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the server saw.
#[derive(Default)]
struct Seen {
    connections: usize,
    mails: Vec<String>,
}

/// Refuses recipients that begin with `refused`, and hangs up on those that begin with `drop`.
async fn smtp() -> (u16, Arc<Mutex<Seen>>) {
    smtp_of(1).await
}

/// One that takes no mail until `together` of them have been handed over, on as many connections.
async fn smtp_of(together: usize) -> (u16, Arc<Mutex<Seen>>) {
    let together = Arc::new(Barrier::new(together));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let keep = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            keep.lock().unwrap().connections += 1;
            let (keep, together) = (Arc::clone(&keep), Arc::clone(&together));
            tokio::spawn(async move { converse(stream, &keep, &together).await });
        }
    });
    (port, seen)
}

async fn converse(stream: TcpStream, seen: &Mutex<Seen>, together: &Barrier) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 test ready\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let command = line.trim_end().to_owned();
        let answer = match command.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => "250-test\r\n250 8BITMIME\r\n",
            "RCPT" if command.contains("<refused") => "550 no such mailbox\r\n",
            "RCPT" if command.contains("<drop") => return Ok(()),
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mail = content(&mut stream).await?;
                together.wait().await;
                seen.lock().unwrap().mails.push(mail);
                "250 queued\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn content(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut mail = String::new();
    while !mail.ends_with("\r\n.\r\n") {
        if stream.read_line(&mut mail).await? == 0 {
            break;
        }
    }
    Ok(mail)
}

fn mailer(port: u16, dir: &tempfile::TempDir) -> Mailer {
    let (host, port) = (Some("127.0.0.1".to_owned()), Some(port));
    let config = Config { host, port, security: Security::None, ..Config::default() };
    Mailer::new(&config, dir.path()).unwrap()
}

fn mail(id: &str, to: &str) -> Job {
    job(id, &json!({"to": to, "subject": format!("For {to}"), "text": "Hello."}))
}

fn batch(mails: &[(&str, &str)]) -> Delivery {
    delivery("email_notification", mails.iter().map(|(id, to)| mail(id, to)).collect())
}

#[tokio::test]
async fn a_refused_recipient_costs_nobody_else_their_mail() {
    let (port, seen) = smtp().await;
    let dir = tempfile::tempdir().unwrap();
    let batch = batch(&[("1", "a@x.example"), ("2", "refused@x.example"), ("3", "c@x.example")]);
    let (answer, outcomes) = handle(&mailer(port, &dir), &batch).await;
    assert_eq!(answer, Ok(()));
    assert!(outcomes["1"].is_ok() && outcomes["3"].is_ok(), "{outcomes:?}");
    let refused = outcomes["2"].as_ref().unwrap_err();
    assert!(refused.0.contains("550") && refused.0.contains("no such mailbox"), "{refused}");
    let seen = seen.lock().unwrap();
    assert_eq!((seen.connections, seen.mails.len()), (1, 2));
    assert!(seen.mails[0].contains("Message-ID: <1@localhost>"), "{}", seen.mails[0]);
}

#[tokio::test]
async fn a_broken_connection_fails_only_what_was_not_sent() {
    let (port, seen) = smtp().await;
    let dir = tempfile::tempdir().unwrap();
    let batch = batch(&[("1", "a@x.example"), ("2", "drop@x.example"), ("3", "c@x.example")]);
    let (answer, outcomes) = handle(&mailer(port, &dir), &batch).await;
    let Failure(text) = answer.unwrap_err();
    assert!(text.contains("lost the connection"), "{text}");
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), ["1"]);
    assert!(outcomes["1"].is_ok());
    assert_eq!(seen.lock().unwrap().mails.len(), 1);
}

/// As many as go out side by side; a server that takes them one by one would leave the first waiting for ever.
#[tokio::test]
async fn a_large_batch_goes_out_over_eight_connections_at_once() {
    let (port, seen) = smtp_of(8).await;
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<String> = (0..96).map(|n| n.to_string()).collect();
    let mails: Vec<_> = ids.iter().map(|id| (id.as_str(), "a@x.example")).collect();
    let (mailer, batch) = (mailer(port, &dir), batch(&mails));
    let handled = tokio::time::timeout(PATIENCE, handle(&mailer, &batch)).await;
    let (answer, outcomes) = handled.expect("eight mails are under way at once");
    assert_eq!(answer, Ok(()));
    assert!(outcomes.len() == 96 && outcomes.values().all(Result::is_ok), "{outcomes:?}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.connections, 8);
    for id in ids {
        let header = format!("Message-ID: <{id}@localhost>");
        assert_eq!(seen.mails.iter().filter(|mail| mail.contains(&header)).count(), 1, "{header}");
    }
}

#[tokio::test]
async fn of_a_large_batch_each_mail_has_its_own_outcome() {
    let (port, seen) = smtp().await;
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let to = |n: usize| match n % 10 {
        3 => "refused@x.example",
        7 if n == 17 => "drop@x.example",
        _ => "a@x.example",
    };
    let mails: Vec<_> = ids.iter().enumerate().map(|(n, id)| (id.as_str(), to(n))).collect();
    let (answer, outcomes) = handle(&mailer(port, &dir), &batch(&mails)).await;
    assert!(answer.unwrap_err().0.contains("lost the connection"));
    assert_eq!(outcomes.len(), 39, "all but the one on the connection that broke");
    assert!(!outcomes.contains_key("17"));
    for (n, id) in ids.iter().enumerate().filter(|(n, _)| *n != 17) {
        assert_eq!(outcomes[id].is_err(), n % 10 == 3, "{id}: {:?}", outcomes[id]);
    }
    assert_eq!(seen.lock().unwrap().mails.len(), 35);
}

#[tokio::test]
async fn a_mail_that_cannot_be_built_fails_alone() {
    let (port, seen) = smtp().await;
    let dir = tempfile::tempdir().unwrap();
    let batch = batch(&[("1", "nobody"), ("2", "b@x.example")]);
    let (answer, outcomes) = handle(&mailer(port, &dir), &batch).await;
    assert_eq!(answer, Ok(()));
    assert!(outcomes["1"].is_err() && outcomes["2"].is_ok(), "{outcomes:?}");
    assert_eq!(seen.lock().unwrap().mails.len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_the_batch() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener); // nobody listens there now
    let dir = tempfile::tempdir().unwrap();
    let (answer, outcomes) = handle(&mailer(port, &dir), &batch(&[("1", "a@x.example")])).await;
    assert!(answer.unwrap_err().0.contains("could not connect"));
    assert!(outcomes.is_empty());
}

#[tokio::test]
async fn a_server_without_starttls_gets_nothing() {
    let (port, seen) = smtp().await;
    let dir = tempfile::tempdir().unwrap();
    let (host, port) = (Some("127.0.0.1".to_owned()), Some(port));
    let config = Config { host, port, ..Config::default() };
    let mailer = Mailer::new(&config, dir.path()).unwrap();
    let (answer, _) = handle(&mailer, &batch(&[("1", "a@x.example")])).await;
    assert!(answer.unwrap_err().0.contains("STARTTLS"));
    assert!(seen.lock().unwrap().mails.is_empty());
}

#[tokio::test]
async fn without_a_server_a_mail_becomes_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let mailer = Mailer::new(&Config::default(), dir.path()).unwrap();
    let html = json!({"to": "Ada Löve <ada@x.example>", "subject": "Fertig ✓", "text": "Hi", "html": "<p>Hi"});
    let delivery = delivery("email_notification", vec![job("j-1", &html)]);
    let (answer, outcomes) = handle(&mailer, &delivery).await;
    assert_eq!(answer, Ok(()));
    assert!(outcomes["j-1"].is_ok());
    let text = std::fs::read_to_string(dir.path().join("mail/j-1.eml")).unwrap();
    assert!(text.contains("multipart/alternative") && text.contains("Message-ID: <j-1@"), "{text}");
}

#[tokio::test]
async fn a_timeout_can_stop_the_writing_of_files_after_each_mail() {
    let dir = tempfile::tempdir().unwrap();
    let mailer = Mailer::new(&Config::default(), dir.path()).unwrap();
    let delivery = batch(&[("1", "a@x.example"), ("2", "b@x.example"), ("3", "c@x.example")]);
    let mut handled = pin!(handle(&mailer, &delivery));
    assert!(handled.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(std::fs::read_dir(dir.path().join("mail")).unwrap().count(), 1);
}

#[test]
fn a_password_is_not_sent_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let (host, username) = (Some("mail.example".to_owned()), Some("u".to_owned()));
    let config = Config { host, username, security: Security::None, ..Config::default() };
    let error = Mailer::new(&config, dir.path()).unwrap_err().to_string();
    assert!(error.contains("in the clear"), "{error}");
}
