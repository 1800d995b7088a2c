//! Reading a history line by line, in bounded memory. Each error names its line.

use std::fmt;
use std::io::{self, BufRead, Read};

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};

use super::{Event, Header, LINE_BYTES_MAX, VERSION, What};

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read history: line {line}: {message}")]
pub struct Error {
    /// The line at fault, from 1.
    pub line: u64,
    /// What is wrong and what was expected.
    pub message: String,
}

/// Reads the header at once and then one event at a time.
pub struct Reader<R> {
    lines: Lines<R>,
    header: Header,
    at: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header from `input`.
    pub fn new(input: R) -> Result<Self, Error> {
        let mut lines = Lines { input, line: 0, bytes: 0, buffer: Vec::new() };
        let Some(first) = lines.next()? else {
            return Err(Error {
                line: 1,
                message: "the file is empty; a history begins with {\"kew_history\":1,…}".into(),
            });
        };
        let header = parse_header(first).map_err(|message| Error { line: lines.line, message })?;
        Ok(Self { lines, header, at: 0 })
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many bytes were read so far.
    pub fn bytes(&self) -> u64 {
        self.lines.bytes
    }

    fn read(&mut self) -> Result<Option<(u64, Event)>, Error> {
        let Some(text) = self.lines.next()? else { return Ok(None) };
        let parsed = parse_event(text);
        let line = self.lines.line;
        let event = parsed.map_err(|error| Error { line, message: without_line(&error) })?;
        if event.at < self.at {
            let message = format!("time goes back: \"at\" is {} after {}; sort the lines by time", event.at, self.at);
            return Err(Error { line, message });
        }
        self.at = event.at;
        Ok(Some((line, event)))
    }
}

/// Line numbers (the header is line 1) and events. Empty lines and lines that begin with `#` are passed over.
impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<(u64, Event), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Text is looked through once for what is no UTF-8, not string by string; the parser names the place where there is any.
fn parse_event(text: &[u8]) -> serde_json::Result<Event> {
    match std::str::from_utf8(text) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(text),
    }
}

fn parse_header(text: &[u8]) -> Result<Header, String> {
    #[derive(Deserialize)]
    struct Version {
        kew_history: u32,
    }
    let version: Version = serde_json::from_slice(text)
        .map_err(|_| "this is no history: the first line must be {\"kew_history\":1,\"system\":…}".to_owned())?;
    if version.kew_history != VERSION {
        return Err(format!("history version {} is not known; this program reads {VERSION}", version.kew_history));
    }
    serde_json::from_slice(text).map_err(|error| without_line(&error))
}

/// The parser sees one line at a time; its own line number would only mislead.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// Lines that mean something, none longer than [`LINE_BYTES_MAX`].
struct Lines<R> {
    input: R,
    line: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<&[u8]>, Error> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let limit = LINE_BYTES_MAX as u64 + 1;
            let read = self.input.by_ref().take(limit).read_until(b'\n', &mut self.buffer);
            let read = read.map_err(|error| self.error(&error))?;
            if read == 0 {
                return Ok(None);
            }
            self.bytes += read as u64;
            if LINE_BYTES_MAX < self.buffer.len() {
                let message = format!("the line is longer than {LINE_BYTES_MAX} bytes");
                return Err(Error { line: self.line, message });
            }
            let text = self.buffer.trim_ascii();
            if !text.is_empty() && !text.starts_with(b"#") {
                break;
            }
        }
        Ok(Some(self.buffer.trim_ascii()))
    }

    fn error(&self, error: &io::Error) -> Error {
        Error { line: self.line, message: error.to_string() }
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event: {\"at\":<milliseconds>,\"<observation>\":{…}}")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Event, M::Error> {
        let (mut at, mut what) = (None, None);
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == "at" {
                at = Some(map.next_value()?);
            } else if what.is_some() {
                return Err(M::Error::custom(format!(
                    "a second observation, \"{key}\"; write it on a line of its own"
                )));
            } else {
                what = Some(What::read(&key, &mut map).ok_or_else(|| unknown(&key))??);
            }
        }
        let at = at.ok_or_else(|| M::Error::custom("\"at\" is missing: the time in milliseconds"))?;
        let what = what.ok_or_else(|| M::Error::custom("there is no observation beside \"at\""))?;
        Ok(Event { at, what })
    }
}

fn unknown<E: serde::de::Error>(key: &str) -> E {
    E::custom(format!("\"{key}\" is no observation; known are {}", What::NAMES.join(", ")))
}
