//! Payloads in, results out: one way to read a job's payload and to say what is wrong with it.

use kew_runtime::processor::{Failure, Job};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Reads a job's payload of at most `bytes_max`. The error names the JSON path of the field that is wrong.
pub(crate) fn parse<T: DeserializeOwned>(job: &Job, bytes_max: usize) -> Result<T, Failure> {
    from_json(job.payload.get().as_bytes(), bytes_max)
}

/// Reads JSON of at most `bytes_max`.
pub(crate) fn from_json<T: DeserializeOwned>(json: &[u8], bytes_max: usize) -> Result<T, Failure> {
    if json.len() > bytes_max {
        return Err(Failure::new(format!(
            "the payload is {} bytes long, and at most {bytes_max} are allowed",
            json.len()
        )));
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(at_path)?;
    reader.end().map_err(|e| Failure::new(format!("the payload is not one JSON value: {e}")))?;
    Ok(value)
}

fn at_path(error: serde_path_to_error::Error<serde_json::Error>) -> Failure {
    let path = error.path().to_string();
    let reason = error.into_inner();
    if path == "." {
        return Failure::new(format!("the payload is wrong: {reason}"));
    }
    Failure::new(format!("the payload is wrong at {path}: {reason}"))
}

/// A job's result.
pub(crate) fn result(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("results are plain structs with string keys")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_payload_over_the_limit_is_refused_before_it_is_read() {
        let failure = from_json::<Value>(b"[1,2,3", 3).unwrap_err();
        assert!(failure.0.contains("at most 3"), "{failure}");
    }

    #[test]
    fn what_follows_the_value_is_refused() {
        assert!(from_json::<Value>(b"{} {}", 100).is_err());
    }
}
