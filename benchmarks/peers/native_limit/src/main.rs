//! The floor's job without Python: joined records in; decode, predictors, score, encode; decisions and vectors out.
//! One thread works; librdkafka's own fetch, unpack, pack and send beside it. Answers are read by the very scanner of the
//! native reader (`featurizers/native`), by path: that crate is a Python extension, and none that another could link.

#[allow(dead_code)] // a record's own id is the key here
#[path = "../../../../featurizers/native/src/chat.rs"]
mod chat;
#[path = "../../../../featurizers/native/src/decimal.rs"]
mod decimal;
mod encode;
mod model;
mod predictors;
#[path = "../../../../featurizers/native/src/scan.rs"]
mod scan;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode::QueueFull;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::time::{Duration, Instant};

type Done<T> = Result<T, Box<dyn std::error::Error>>;

/// A transaction is a round through its coordinator: with this much in one, that costs little.
const TRANSACTION: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Done<()> {
    let exactly_once = given("EXACTLY_ONCE")? == "1";
    let (consumer, producer) = clients(exactly_once)?;
    let mut job = Job::new()?;
    if exactly_once {
        producer.init_transactions(PATIENCE)?;
    }
    let mut batch = Batch::default();
    loop {
        let message = consumer.poll(Duration::from_millis(10)).transpose()?;
        if let Some(message) = &message {
            if exactly_once && batch.since.is_none() {
                producer.begin_transaction()?;
                batch.since = Some(Instant::now());
            }
            job.decide(message)?;
            send(&producer, job.decision_topic(), message.key(), &job.decision)?;
            send(&producer, &job.vectors, message.key(), &job.vector)?;
            batch.next.insert(message.partition(), message.offset() + 1);
        }
        if batch.since.is_some_and(|since| since.elapsed() > TRANSACTION) {
            commit(&consumer, &producer, &job.joined, &mut batch)?;
        }
        if message.is_none() {
            producer.poll(Duration::ZERO);
        }
    }
}

/// The transaction that is open: since when, and from where on its partitions are read next.
#[derive(Default)]
struct Batch {
    since: Option<Instant>,
    next: HashMap<i32, i64>,
}

fn commit(consumer: &BaseConsumer, producer: &BaseProducer, topic: &str, batch: &mut Batch) -> Done<()> {
    let mut offsets = TopicPartitionList::new();
    for (partition, next) in batch.next.drain() {
        offsets.add_partition_offset(topic, partition, Offset::Offset(next))?;
    }
    let group = consumer.group_metadata().ok_or("no group")?;
    producer.send_offsets_to_transaction(&offsets, &group, PATIENCE)?;
    producer.commit_transaction(PATIENCE)?;
    batch.since = None;
    Ok(())
}

fn clients(exactly_once: bool) -> Done<(BaseConsumer, BaseProducer)> {
    let (broker, group) = (given("BROKER")?, given("GROUP")?);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &broker)
        .set("group.id", &group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", if exactly_once { "false" } else { "true" })
        .set("isolation.level", "read_committed")
        .set("fetch.message.max.bytes", "4194304")
        .set("queued.min.messages", "20000")
        .set("fetch.queue.backoff.ms", "10") // the default leaves a full prefetch queue to run dry
        .create()?;
    consumer.subscribe(&[&given("JOINED")?])?;
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", &broker)
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "200000")
        // No report for each record: a transaction fails as a whole.
        .set("delivery.report.only.error", "true");
    if exactly_once {
        settings.set("transactional.id", &group);
    }
    Ok((consumer, settings.create()?))
}

fn send(producer: &BaseProducer, topic: &str, key: Option<&[u8]>, value: &[u8]) -> Done<()> {
    let mut record = BaseRecord::to(topic).key(key.unwrap_or_default()).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(QueueFull), back)) => {
                producer.poll(Duration::from_millis(5));
                record = back;
            }
            Err((problem, _)) => return Err(problem.into()),
        }
    }
}

/// What is used again from record to record.
struct Job {
    joined: String,
    auto_action: String,
    human_review: String,
    vectors: String,
    model: model::Model,
    predictors: predictors::Predictors,
    automatic: bool,
    decision: Vec<u8>,
    vector: Vec<u8>,
}

impl Job {
    fn new() -> Done<Self> {
        Ok(Job {
            joined: given("JOINED")?,
            auto_action: given("AUTO_ACTION")?,
            human_review: given("HUMAN_REVIEW")?,
            vectors: given("VECTORS")?,
            model: model::Model::read(&std::fs::read_to_string(given("PARAMETERS")?)?)?,
            predictors: predictors::Predictors::default(),
            automatic: false,
            decision: Vec::new(),
            vector: Vec::new(),
        })
    }

    fn decision_topic(&self) -> &str {
        if self.automatic { &self.auto_action } else { &self.human_review }
    }

    fn decide(&mut self, message: &BorrowedMessage) -> Done<()> {
        let request = message.headers().and_then(|all| all.iter().find(|header| header.key == "request"));
        let request = encode::Request::read(request.and_then(|header| header.value).ok_or("no request")?)
            .ok_or("a request of another shape")?;
        let answer = chat::read(message.payload().ok_or("no answer")?).ok_or("an answer of another shape")?;
        let text = std::str::from_utf8(&answer.text)?;
        let said = predictors::Said::read(text, answer.finish_reason.as_deref() == Some("length"));
        self.predictors.compute(&answer, text, &said);
        self.model.score(&self.predictors.values, &request.policy);
        let llm = answer.llm.as_deref();
        self.automatic =
            encode::decision(&mut self.decision, &request, llm, &said, &self.model, &self.predictors.values);
        encode::vector(&mut self.vector, &request, llm, &self.predictors.values, self.automatic);
        Ok(())
    }
}

fn given(name: &str) -> Done<String> {
    Ok(std::env::var(format!("BENCH_{name}")).map_err(|_| format!("BENCH_{name} is not set"))?)
}
