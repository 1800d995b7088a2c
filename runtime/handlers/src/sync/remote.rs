//! The other system as an HTTP service: `PUT {base_url}/{entity key}`, with the version as a header.
//!
//! The service keeps an entity's greatest version: it answers 2xx when it took this one, and 409 or 412 when it has
//! a newer one, which it names in the header `Kew-Version` or as `version` in a JSON body.

use hyper::{Method, StatusCode};
use kew_runtime::processor::{Failure, Job};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::Synced;
use crate::Secret;
use crate::http::{Base, Client, Reply};

/// What a key keeps in a path: RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The longest answer that is read, in bytes: only a version is taken from it.
const ANSWER_BYTES_MAX: usize = 64 << 10;

const WHO: &str = "the sync service";

#[derive(Debug)]
pub(super) struct Service {
    base: Base,
    client: Client,
}

impl Service {
    pub(super) fn new(url: &str, token: Option<Secret>) -> Result<Self, String> {
        Ok(Self { base: Base::parse(url)?, client: Client::new(WHO, token, ANSWER_BYTES_MAX) })
    }

    pub(super) async fn put(&self, key: &str, job: &Job) -> Result<Synced, Failure> {
        let url = self.base.join(&segment(key)?);
        let version = job.version.to_string();
        let idempotency = format!("{}:{version}", job.id);
        let headers = [("idempotency-key", idempotency.as_str()), ("kew-version", &version)];
        let body = job.payload.get().as_bytes().to_vec();
        let reply = self.client.send(Method::PUT, &url, &headers, body).await?;
        if reply.status.is_success() {
            return Ok(Synced::Version(job.version));
        }
        let newer = conflict(&reply).filter(|there| *there >= job.version);
        newer.map(|there| settled(there, job.version)).ok_or_else(|| self.client.failure(&reply))
    }
}

/// A key as one segment. `.` and `..` would be taken for folders, however they are encoded.
fn segment(key: &str) -> Result<String, Failure> {
    if matches!(key, "." | "..") {
        return Err(Failure::new(format!("the entity key {key:?} cannot stand in a URL")));
    }
    Ok(utf8_percent_encode(key, RESERVED).to_string())
}

fn settled(there: u64, version: u64) -> Synced {
    if there > version { Synced::SupersededBy(there) } else { Synced::Version(version) }
}

/// The version that the service holds, if it refused ours for it.
fn conflict(reply: &Reply) -> Option<u64> {
    #[derive(Deserialize)]
    struct Held {
        version: u64,
    }
    if !matches!(reply.status, StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED) {
        return None;
    }
    let header = reply.headers.get("kew-version").and_then(|v| v.to_str().ok()?.parse().ok());
    header.or_else(|| serde_json::from_slice::<Held>(&reply.body).ok().map(|held| held.version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_segment_whatever_is_in_it() {
        assert_eq!(segment("user/ä?#").unwrap(), "user%2F%C3%A4%3F%23");
        assert!(segment("..").is_err());
    }
}
