//! Puts Kew's benchmarks to NATS JetStream: a work-queue stream in files, and a durable pull consumer.
//!
//! `default` is the server as it comes, which syncs its files every two minutes; `sync-always` one that syncs every
//! write before it acknowledges it. In both a completion is `ack`, which is not answered, so the clock runs until the
//! server says that the stream is empty. `confirmed` is `default` with `double_ack`, which is answered: what other
//! systems call completed. Batches of 1,000 are fetched ahead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Context, Message, stream};
use futures_util::StreamExt;
use kew_peer_common::{
    Arguments, IN_FLIGHT, Measured, PAYLOAD, PRODUCERS, Result, ToCreate, Window, Work, locked_version, print_line,
    within_two_minutes,
};

const STREAM: &str = "jobs";
const BATCH: usize = 1000;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let (durability, is_confirmed) = match arguments.configuration.as_str() {
        "default" => ("B", false),
        "confirmed" => ("B", true),
        "sync-always" => ("A", false),
        other => return Err(format!("no such configuration: {other}").into()),
    };
    let client = async_nats::connect(&arguments.place).await?;
    let measured = measure(&arguments, &jetstream::new(client.clone()), is_confirmed).await?;
    let lock = include_str!("../Cargo.lock");
    let server = client.server_info().version;
    let version = format!("{server} (async-nats {})", locked_version(lock, "async-nats"));
    print_line(&arguments, "nats", &version, durability, &measured);
    Ok(())
}

async fn measure(arguments: &Arguments, context: &Context, is_confirmed: bool) -> Result<Measured> {
    let (jobs, warm_up) = (arguments.jobs, arguments.warm_up());
    let config = stream::Config {
        name: STREAM.into(),
        subjects: vec!["jobs.>".into()],
        retention: stream::RetentionPolicy::WorkQueue,
        storage: stream::StorageType::File,
        ..Default::default()
    };
    let stream = context.create_stream(config).await?;
    let config = pull::Config { durable_name: Some("worker".into()), max_ack_pending: 20_000, ..Default::default() };
    let consumer: PullConsumer = stream.create_consumer(config).await?;
    let elapsed = match arguments.work {
        Work::Enqueue => {
            create(context, warm_up, PRODUCERS, None).await?;
            create(context, jobs, PRODUCERS, None).await?
        }
        Work::Process => {
            create(context, warm_up, PRODUCERS, None).await?;
            process(context, &consumer, warm_up, is_confirmed).await?;
            create(context, jobs, IN_FLIGHT, None).await?;
            process(context, &consumer, jobs, is_confirmed).await?
        }
        Work::Mixed => {
            create(context, warm_up, PRODUCERS, None).await?;
            process(context, &consumer, warm_up, is_confirmed).await?;
            mixed(context, &consumer, jobs, is_confirmed).await?
        }
    };
    let left = left(context).await?;
    let completed = match arguments.work {
        Work::Enqueue => left.saturating_sub(warm_up),
        Work::Process | Work::Mixed => jobs.saturating_sub(left),
    };
    Ok(Measured { elapsed, completed })
}

/// Single publishes, each awaited until the stream has it.
async fn create(context: &Context, jobs: usize, producers: usize, window: Option<Arc<Window>>) -> Result<Duration> {
    let to_create = ToCreate::new(jobs);
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..producers {
        let (context, to_create, window) = (context.clone(), to_create.clone(), window.clone());
        tasks.push(tokio::spawn(async move {
            while to_create.take() {
                if let Some(window) = &window {
                    window.enter().await;
                }
                context.publish("jobs.pdf", PAYLOAD.into()).await?.await?;
            }
            Result::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(began.elapsed())
}

/// Takes so many messages and completes each.
async fn consume(consumer: &PullConsumer, jobs: usize, is_confirmed: bool, window: Arc<Window>) -> Result<()> {
    let messages = consumer.stream().max_messages_per_batch(BATCH).messages().await?;
    let mut chunks = messages.take(jobs).ready_chunks(BATCH);
    while let Some(chunk) = chunks.next().await {
        let completions = chunk.into_iter().map(|message| complete(message, is_confirmed, &window));
        for result in futures_util::future::join_all(completions).await {
            result?;
        }
    }
    Ok(())
}

async fn complete<E>(message: std::result::Result<Message, E>, is_confirmed: bool, window: &Window) -> Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let message = message?;
    let _payload: serde_json::Value = serde_json::from_slice(&message.payload)?;
    if is_confirmed {
        message.double_ack_with(AckKind::Ack).await?;
    } else {
        message.ack().await?;
    }
    window.leave();
    Ok(())
}

/// From the first fetch until the stream is empty.
async fn process(context: &Context, consumer: &PullConsumer, jobs: usize, is_confirmed: bool) -> Result<Duration> {
    let began = Instant::now();
    consume(consumer, jobs, is_confirmed, Window::new()).await?;
    finish(context, began).await
}

async fn mixed(context: &Context, consumer: &PullConsumer, jobs: usize, is_confirmed: bool) -> Result<Duration> {
    let window = Window::new();
    let began = Instant::now();
    let consuming = tokio::spawn({
        let (consumer, window) = (consumer.clone(), window.clone());
        async move { consume(&consumer, jobs, is_confirmed, window).await }
    });
    create(context, jobs, IN_FLIGHT, Some(window)).await?;
    consuming.await??;
    finish(context, began).await
}

async fn finish(context: &Context, began: Instant) -> Result<Duration> {
    while left(context).await? != 0 {
        within_two_minutes(began)?;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(began.elapsed())
}

async fn left(context: &Context) -> Result<usize> {
    let stream = context.get_stream(STREAM).await?;
    let info = stream.get_info().await?;
    Ok(usize::try_from(info.state.messages)?)
}
