//! From a payload to a mail. Headers are set by types that encode what they are given, so a line break in a subject
//! is a character of the subject and never a new header.

use std::time::SystemTime;

use kew_runtime::processor::{Failure, Job};
use lettre::Message;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use serde::Deserialize;

use crate::{file, payload};

/// The longest payload, in bytes: below what common servers take (10 MB and more), far above any notification.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// The longest subject, in characters: RFC 5322's line of 998 leaves no reason for more.
const SUBJECT_CHARS_MAX: usize = 900;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    to: String,
    subject: String,
    text: String,
    html: Option<String>,
}

/// The mail of `job`: the same bytes for the same job and time.
pub(super) fn of(job: &Job, from: &Mailbox, now: SystemTime) -> Result<Message, Failure> {
    let asked: Payload = payload::parse(job, PAYLOAD_BYTES_MAX)?;
    let id = file::plain(&job.id)?;
    let to: Mailbox =
        asked.to.parse().map_err(|e| Failure::new(format!("the recipient {:?} is no mail address: {e}", asked.to)))?;
    let subject = subject(&asked.subject)?;
    let message = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(subject)
        .date(now)
        .message_id(Some(format!("<{id}@{}>", from.email.domain())));
    let built = match asked.html {
        None => message.singlepart(SinglePart::plain(asked.text)),
        Some(html) => message.multipart(
            MultiPart::alternative()
                .boundary(format!("kew-{id}"))
                .singlepart(SinglePart::plain(asked.text))
                .singlepart(SinglePart::html(html)),
        ),
    };
    built.map_err(|e| Failure::new(format!("the mail cannot be built: {e}")))
}

/// A subject is one line. Encoding alone would keep a break harmless, but no reader expects one there.
fn subject(text: &str) -> Result<&str, Failure> {
    if text.chars().any(char::is_control) {
        return Err(Failure::new("the subject has a line break or another control character"));
    }
    if text.chars().count() > SUBJECT_CHARS_MAX {
        return Err(Failure::new(format!("the subject is over {SUBJECT_CHARS_MAX} characters long")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::{Value, json};

    use super::*;

    fn mail(id: &str, payload: Value) -> Result<String, Failure> {
        let payload = serde_json::value::to_raw_value(&payload).unwrap();
        let job = Job { id: id.into(), user: "u".into(), attempt: 1, version: 1, key: None, payload };
        let from = "Kew <kew@example.com>".parse().unwrap();
        of(&job, &from, UNIX_EPOCH).map(|m| String::from_utf8(m.formatted()).unwrap())
    }

    #[test]
    fn the_message_id_comes_from_the_job() {
        let text = mail("j-1", json!({"to": "a@b.example", "subject": "s", "text": "t"})).unwrap();
        assert!(text.contains("Message-ID: <j-1@example.com>\r\n"), "{text}");
    }

    #[test]
    fn the_same_job_makes_the_same_bytes() {
        let payload = json!({"to": "a@b.example", "subject": "s", "text": "t", "html": "<p>t"});
        assert_eq!(mail("j-1", payload.clone()).unwrap(), mail("j-1", payload).unwrap());
    }

    #[test]
    fn no_field_of_a_payload_adds_a_header() {
        let ok = json!({"to": "a@b.example", "subject": "s", "text": "t"});
        for (field, value) in [
            ("subject", "s\r\nBcc: x@y.example"),
            ("to", "a@b.example\r\nBcc: x@y.example"),
            ("to", "\"A\r\nBcc: x@y.example\" <a@b.example>"),
        ] {
            let mut payload = ok.clone();
            payload[field] = value.into();
            let lines = mail("j-1", payload).unwrap_or_default();
            assert!(!lines.lines().any(|line| line.starts_with("Bcc")), "{lines}");
        }
        assert!(mail("j\r\nBcc: x", ok).is_err());
    }

    #[test]
    fn a_recipient_that_is_no_address_is_named_in_the_failure() {
        let failure = mail("j-1", json!({"to": "nobody", "subject": "s", "text": "t"})).unwrap_err();
        assert!(failure.0.contains("\"nobody\""), "{failure}");
    }
}
