//! The handlers' HTTP client: HTTP/1.1, https with compiled-in roots, plain http to this machine only, no redirects
//! (a redirect would carry a key elsewhere), answers of bounded size.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kew_runtime::processor::Failure;

use crate::secret::Secret;

/// A base URL that is safe to send to: https, or http on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    url: String,
    loopback: bool,
}

impl Base {
    /// Checks a base URL of the configuration.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|e| format!("base_url {text:?} is no URL: {e}"))?;
        let host = uri.host().ok_or_else(|| format!("base_url {text:?} has no host"))?;
        let loopback = is_loopback(host);
        match uri.scheme_str() {
            _ if uri.query().is_some() => Err(format!("base_url {text:?} has a query")),
            Some("https") => Ok(()),
            Some("http") if loopback => Ok(()),
            Some("http") => Err(format!("base_url {text:?} must be https: {host} is another machine")),
            _ => Err(format!("base_url {text:?} must be https")),
        }?;
        Ok(Self { url: text.trim_end_matches('/').to_owned(), loopback })
    }

    /// This URL and one more piece of path, which the caller has encoded.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    /// This URL as it is.
    pub(crate) fn as_str(&self) -> &str {
        &self.url
    }

    /// Whether it is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.loopback
    }
}

/// Whether `host` can only be this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A client of one service, with its pool of connections.
#[derive(Debug)]
pub(crate) struct Client {
    /// The service, as failures call it.
    who: &'static str,
    bearer: Option<Secret>,
    answer_bytes_max: usize,
    pool: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    pub(crate) fn new(who: &'static str, bearer: Option<Secret>, answer_bytes_max: usize) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http() // `Base` has refused http to other machines
            .enable_http1()
            .build();
        let pool = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Self { who, bearer, answer_bytes_max, pool }
    }

    /// Whether it has a token to send.
    pub(crate) fn has_bearer(&self) -> bool {
        self.bearer.is_some()
    }

    /// Sends one JSON request. The answer may have any status.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Reply, Failure> {
        let request = self.request(method, url, headers, body);
        let request = request.map_err(|e| Failure::new(format!("could not make a request for {}: {e}", self.who)))?;
        let reply = self.pool.request(request).await;
        let (head, body) = reply.map_err(|e| self.unreachable(&e))?.into_parts();
        let body = Limited::new(body, self.answer_bytes_max).collect().await.map_err(|e| {
            let (who, max) = (self.who, self.answer_bytes_max);
            Failure::new(format!("could not read the answer of {who} (at most {max} bytes): {e}"))
        })?;
        Ok(Reply { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    fn request(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder().method(method).uri(url);
        request = request.header(CONTENT_TYPE, "application/json");
        request = request.header(ACCEPT, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.bearer {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::new(Bytes::from(body)))
    }

    /// An answer as a failure: its status, when to come back, and the start of what it says.
    pub(crate) fn failure(&self, reply: &Reply) -> Failure {
        let mut text = format!("{} answered {}", self.who, reply.status);
        let again = reply.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok());
        if let Some(after) = again {
            text += &format!(" (retry after {after})");
        }
        let said = String::from_utf8_lossy(&reply.body);
        // Before the cut, so that no half of a secret stays behind.
        let said = self.bearer.as_ref().map_or(said.to_string(), |token| token.redact(&said));
        let said: String = said.trim().chars().take(SAID_CHARS_MAX).collect();
        if !said.is_empty() {
            text += &format!(": {said}");
        }
        Failure::new(text)
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Failure {
        let mut text = format!("could not reach {}: {error}", self.who);
        let mut source = error.source();
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        Failure::new(text)
    }
}

/// How much of a refusal is kept with the job: enough for a sentence of an API, little of an HTML page.
const SAID_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for url in ["http://127.0.0.1:1", "http://localhost/v1", "http://[::1]:9", "https://a.example"] {
            assert!(Base::parse(url).is_ok(), "{url}");
        }
        for url in ["http://a.example", "http://127.0.0.1.a.example", "ftp://localhost", "/v1", "x"] {
            assert!(Base::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_base_url_joins_with_one_slash() {
        assert_eq!(Base::parse("https://a.example/v1/").unwrap().join("x"), "https://a.example/v1/x");
    }
}
