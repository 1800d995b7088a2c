//! AI enhancement: a text and an instruction go to an OpenAI-compatible server, its rewrite comes back as the result.
//!
//! There is no embedded default, because no honest one exists: without a server the job fails and says how to name
//! one. The rate limit is the queue's, not this handler's.

use futures_util::future::BoxFuture;
use hyper::Method;
use kew_runtime::processor::{Delivery, Failure, Handler, Job, Outcome, Report};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::{Base, Client};
use crate::{Error, Secret, payload};

/// The section `[handlers.ai]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where `/chat/completions` is, as in `https://api.openai.com/v1`. None by default: jobs fail.
    pub base_url: Option<String>,
    /// The API key. Better left to the environment.
    pub key: Option<Secret>,
    /// The environment variable that holds the key where `key` does not.
    pub key_env: String,
    /// The model, where a job does not name one.
    pub model: String,
    /// The instruction, where a job has none.
    pub instruction: String,
    /// The longest answer that is read, in bytes.
    pub answer_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: None,
            key: None,
            key_env: "KEW_AI_KEY".into(),
            model: "gpt-4o-mini".into(),
            instruction: "Rewrite the text for a résumé: clear, active, free of errors. Invent nothing. \
                          Answer with the text alone."
                .into(),
            answer_bytes_max: 1 << 20, // far above any rewrite; below what could hurt the process
        }
    }
}

/// The longest payload, in bytes: more than any model of today reads.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

const NO_SERVER: &str = "AI enhancement is not configured: set base_url in the section [handlers.ai] to an \
                         OpenAI-compatible server, as in \"https://api.openai.com/v1\"";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    text: String,
    instruction: Option<String>,
    model: Option<String>,
}

#[derive(Debug, Serialize)]
struct Rewrite {
    text: String,
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Completion {
    model: Option<String>,
    choices: Vec<Choice>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

/// The handler of `ai_enhancement`.
#[derive(Debug)]
pub struct Rewriter {
    config: Config,
    base: Option<Base>,
    client: Client,
}

impl Rewriter {
    /// Checks the configuration; a missing server is the jobs' failure, not this one's.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let base = config.base_url.as_deref().map(Base::parse).transpose();
        let base = base.map_err(|e| Error::new("[handlers.ai]", e))?;
        let key = Secret::resolve(config.key.as_ref(), &config.key_env);
        let client = Client::new(WHO, key, config.answer_bytes_max);
        Ok(Self { config: config.clone(), base, client })
    }

    async fn rewrite(&self, job: &Job) -> Outcome {
        let asked: Payload = payload::parse(job, PAYLOAD_BYTES_MAX)?;
        let base = self.base.as_ref().ok_or_else(|| Failure::new(NO_SERVER))?;
        // A server on this machine seldom asks for a key; any other would answer 401 and say less than we can.
        if !self.client.has_bearer() && !base.is_loopback() {
            return Err(Failure::new(format!(
                "AI enhancement has no key: set the environment variable {}, or key in the section [handlers.ai]",
                self.config.key_env
            )));
        }
        let model = asked.model.as_deref().unwrap_or(&self.config.model);
        let request = json!({ "model": model, "messages": [
            { "role": "system", "content": asked.instruction.as_ref().unwrap_or(&self.config.instruction) },
            { "role": "user", "content": asked.text },
        ]});
        let done = self.complete(base, &job.id, &request).await?;
        Ok(payload::result(&rewrite_of(done, model)?))
    }

    async fn complete(&self, base: &Base, id: &str, request: &Value) -> Result<Completion, Failure> {
        let url = base.join("chat/completions");
        let body = request.to_string().into_bytes();
        let reply = self.client.send(Method::POST, &url, &[("idempotency-key", id)], body).await?;
        if !reply.status.is_success() {
            return Err(self.client.failure(&reply));
        }
        serde_json::from_slice(&reply.body)
            .map_err(|e| Failure::new(format!("{WHO} answered what is no chat completion: {e}")))
    }
}

const WHO: &str = "the AI server";

fn rewrite_of(done: Completion, asked: &str) -> Result<Rewrite, Failure> {
    let text = done.choices.into_iter().next().and_then(|c| c.message.content);
    let text = text.filter(|t| !t.trim().is_empty());
    Ok(Rewrite {
        text: text.ok_or_else(|| Failure::new(format!("{WHO} answered without a text")))?,
        model: done.model.unwrap_or_else(|| asked.to_owned()),
        usage: done.usage,
    })
}

impl Handler for Rewriter {
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            for job in &delivery.jobs {
                report.job(&job.id, self.rewrite(job).await);
            }
            Ok(())
        })
    }
}
