//! Carries the spool's messages over one connection to JetStream, and takes its acknowledgements.
//!
//! A connection is never mended: what was on its way when it broke is sent again on the next, from the oldest on, so
//! that nothing overtakes. Before a stream gets anything it is asked whether it still has what it acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap, Subscriber};
use futures_util::StreamExt;
use serde::Deserialize;
use tracing::{info, warn};

use super::queue::{Acknowledged, Step};
use super::{Entry, Lost, Spool};
use crate::bus::StreamConfig;
use crate::bus::streams;
use crate::bus::uplink::{HEADER_ORIGIN, headers};
use crate::task::Tasks;

/// Header: the message's number in the box's spool.
const HEADER_NUMBER: &str = "Andon-Number";
/// Header: by which JetStream knows a repeat.
const HEADER_ID: &str = "Nats-Msg-Id";

/// How long JetStream may take to answer a question.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait before JetStream is asked again for its streams.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// A message that is sent again is looked for in the stream first, if it is so old that JetStream may have forgotten
/// its id.
const LOOK_FOR_OLDER_MS: i64 = 60_000;
/// Messages of its subject that are looked at in that search.
const LOOKED_AT_MAX: usize = 1000;
/// JetStream's codes for what it will never take: message, header too large.
const NEVER: [u64; 2] = [10054, 10097];

/// What the spool needs on one connection.
pub(in crate::bus) struct Sender {
    pub(in crate::bus) spool: Arc<Spool>,
    pub(in crate::bus) client: Client,
    pub(in crate::bus) streams: Arc<[StreamConfig]>,
    pub(in crate::bus) box_id: String,
    /// Begins the subjects of acknowledgements.
    pub(in crate::bus) prefix: String,
    pub(in crate::bus) tasks: Tasks,
}

/// What JetStream answers to a publish.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// The connection does not take anything any more.
struct Broken;

impl Sender {
    /// Sends until the connection ends; the caller drops it then.
    pub(in crate::bus) async fn run(self) {
        let _away = Away(self.spool.clone());
        let mut jetstream = jetstream::new(self.client.clone());
        jetstream.set_timeout(ANSWER_WITHIN);
        self.declare(&jetstream).await;
        let acknowledgements = format!("{}.k.*.*", self.prefix);
        let Ok(mut acknowledgements) = self.client.subscribe(acknowledgements).await else { return };
        self.spool.queue().forget_sent();
        self.reconcile(&jetstream).await;
        self.spool.is_connected.store(true, Ordering::Relaxed);
        self.spool.due.notify_one();
        while self.send_and_hear(&jetstream, &mut acknowledgements).await.is_ok() {}
    }

    /// Sees to it that the streams are there. One that cannot be made as declared may still take messages.
    async fn declare(&self, jetstream: &Context) {
        loop {
            let mut problem = None;
            let mut is_asked = false;
            for declared in self.streams.iter() {
                match streams::declare(jetstream, declared).await {
                    Ok(()) => is_asked = true,
                    Err(reason) => problem = Some(reason),
                }
            }
            self.spool.note_stream(problem);
            if is_asked || self.streams.is_empty() {
                return;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Sends all that may go, then waits for whatever comes.
    async fn send_and_hear(&self, jetstream: &Context, acknowledgements: &mut Subscriber) -> Result<(), Broken> {
        loop {
            let now = self.spool.clock.elapsed();
            let next = self.spool.queue().next_to_send(now);
            let Some(entry) = next else { break };
            self.send(jetstream, &entry).await?;
            // Those that are there already, so that they do not pile up.
            while let Some(Some(message)) = futures_util::FutureExt::now_or_never(acknowledgements.next()) {
                self.hear(jetstream, &message).await;
            }
        }
        let now = self.spool.clock.elapsed();
        let retry_at = self.spool.queue().retry_at(now).unwrap_or(now + Duration::from_secs(5));
        tokio::select! {
            message = acknowledgements.next() => self.hear(jetstream, &message.ok_or(Broken)?).await,
            () = self.spool.more.notified() => {}
            () = tokio::time::sleep(retry_at.saturating_sub(now)) => {
                if self.spool.queue().time_out(now) {
                    self.spool.note_stream(Some("JetStream does not acknowledge".to_owned()));
                }
            }
        }
        Ok(())
    }

    async fn send(&self, jetstream: &Context, entry: &Entry) -> Result<(), Broken> {
        let was_sent = self.spool.queue().note_sent(entry);
        if was_sent {
            self.spool.instruments.resent.inc();
            self.spool.instruments.resilience.retry();
            let age_ms = self.spool.clock.now().as_millis().saturating_sub(entry.at.as_millis());
            if age_ms > LOOK_FOR_OLDER_MS
                && let Some(sequence) = self.look_for(jetstream, entry).await
            {
                self.acknowledged(&entry.stream, entry.number, sequence, true);
                return Ok(());
            }
        }
        let headers = self.headers(entry);
        let size = entry.payload.len() + headers.iter().map(|(k, v)| header_bytes(k.as_ref(), v)).sum::<usize>() + 14;
        if size > self.client.max_payload() {
            self.give_up(&entry.stream, entry.number, Lost::TooLarge);
            return Ok(());
        }
        let reply = format!("{}.k.{}.{}", self.prefix, entry.stream, entry.number);
        let subject = entry.subject.to_string();
        let publish = self.client.publish_with_reply_and_headers(subject, reply, headers, entry.payload.clone());
        publish.await.map_err(|_| Broken)
    }

    fn headers(&self, entry: &Entry) -> HeaderMap {
        let mut headers = headers(&self.box_id, entry.device_id.as_deref(), entry.correlation_id.as_deref());
        headers.insert(HEADER_ID, &*entry.id);
        headers.insert(HEADER_NUMBER, entry.number.to_string());
        headers
    }

    /// Takes an acknowledgement.
    async fn hear(&self, jetstream: &Context, message: &async_nats::Message) {
        let mut tokens = message.subject.as_str().rsplit('.');
        let number = tokens.next().and_then(|token| token.parse::<u64>().ok());
        let (Some(number), Some(stream)) = (number, tokens.next()) else { return };
        let now = self.spool.clock.elapsed();
        if message.status.is_some() {
            self.spool.note_stream(Some(format!("no stream of NATS takes what belongs to {stream}")));
            return self.spool.queue().refuse(stream, now);
        }
        let Ok(answer) = serde_json::from_slice::<Answer>(&message.payload) else { return };
        match answer.error {
            None => {
                if self.acknowledged(stream, number, answer.seq, answer.duplicate) == Acknowledged::WentBack {
                    self.reconcile(jetstream).await;
                }
            }
            Some(refusal) if NEVER.contains(&refusal.err_code) || refusal.code == 400 => {
                warn!(stream, reason = %refusal.description, "a message is refused by its stream for good");
                self.give_up(stream, number, Lost::Refused);
            }
            Some(refusal) => {
                self.spool.note_stream(Some(format!("stream {stream}: {}", refusal.description)));
                self.spool.queue().refuse(stream, now);
            }
        }
    }

    fn acknowledged(&self, stream: &str, number: u64, sequence: u64, is_repeat: bool) -> Acknowledged {
        let now = self.spool.clock.elapsed();
        let mut queue = self.spool.queue();
        let sent_at = queue.sent_at(stream, number);
        let outcome = queue.acknowledge(stream, number, sequence, is_repeat, now);
        let wants_more = queue.wants_from_disk().is_some();
        drop(queue);
        if wants_more {
            self.spool.due.notify_one();
        }
        match outcome {
            Acknowledged::Stored | Acknowledged::WentBack => {
                self.spool.instruments.acknowledged.with(&[stream]).inc();
                self.spool.instruments.resilience.acknowledged(sent_at.map(|at| now.saturating_sub(at)));
                self.spool.note_stream(None);
            }
            Acknowledged::Repeated => self.spool.instruments.repeats.inc(),
            Acknowledged::Unknown => {}
        }
        outcome
    }

    fn give_up(&self, stream: &str, number: u64, why: Lost) {
        if self.spool.queue().give_up(stream, number, why) {
            let reason = match why {
                Lost::TooLarge => "too_large",
                Lost::Refused => "refused",
            };
            self.spool.instruments.dropped.with(&[reason]).inc();
            self.spool.instruments.resilience.not_acknowledged(reason);
        }
    }

    /// Finds out whether the streams still have what they acknowledged; what one has forgotten is sent again.
    async fn reconcile(&self, jetstream: &Context) {
        let all = self.spool.queue().steps();
        for (stream, steps) in all {
            let Some(newest) = steps.last() else { continue };
            let Ok(handle) = jetstream.get_stream(&*stream).await else { continue };
            let state = handle.cached_info().state.clone();
            let there =
                There { stream: &handle, box_id: &self.box_id, first: state.first_sequence, last: state.last_sequence };
            if there.has(newest).await {
                continue;
            }
            // The steps that the stream still has come first.
            let (mut low, mut high) = (0, steps.len());
            while low < high {
                let middle = low.midpoint(high);
                let is_there = match steps.get(middle) {
                    Some(step) => there.has(step).await,
                    None => false,
                };
                if is_there { low = middle + 1 } else { high = middle }
            }
            let step = low.checked_sub(1).and_then(|at| steps.get(at)).copied().unwrap_or_default();
            self.go_back(&stream, step).await;
        }
    }

    async fn go_back(&self, stream: &Arc<str>, step: Step) {
        let _turn = self.spool.turn.lock().await;
        let Some(files) = self.spool.files.clone() else { return };
        let name = stream.clone();
        let counted = self.tasks.pool().run(move || files.count_behind(&name, step.number, None)).await;
        let Ok(on_disk) = counted else { return };
        info!(%stream, messages = on_disk, "a stream has forgotten what it acknowledged: it is sent again");
        self.spool.instruments.went_back.inc();
        self.spool.queue().go_back(stream, step, on_disk);
        self.spool.due.notify_one();
    }

    /// Looks for a message in its stream, behind what is known to be there.
    async fn look_for(&self, jetstream: &Context, entry: &Entry) -> Option<u64> {
        let stream = jetstream.get_stream_no_info(&*entry.stream).await.ok()?;
        let mut sequence = self.spool.queue().sequence(&entry.stream) + 1;
        for _ in 0..LOOKED_AT_MAX {
            let found = stream.raw_message_builder().sequence(sequence).next_by_subject(entry.subject.to_string());
            let found = found.send().await.ok()?;
            if found.headers.get(HEADER_ID).is_some_and(|id| id.as_str() == &*entry.id) {
                return Some(found.sequence);
            }
            sequence = found.sequence + 1;
        }
        None
    }
}

/// What a stream has now.
struct There<'a> {
    stream: &'a jetstream::stream::Stream,
    box_id: &'a str,
    first: u64,
    last: u64,
}

impl There<'_> {
    /// Tells whether the stream still has what it had at a step. What it has let go of by its limits it had.
    async fn has(&self, step: &Step) -> bool {
        if step.sequence > self.last {
            return false;
        }
        if step.sequence < self.first {
            return true;
        }
        let Ok(message) = self.stream.get_raw_message(step.sequence).await else { return true };
        let header = |name: &str| message.headers.get(name).map(async_nats::HeaderValue::as_str);
        let number = header(HEADER_NUMBER).and_then(|number| number.parse::<u64>().ok());
        header(HEADER_ORIGIN) == Some(self.box_id) && number.is_some_and(|number| number <= step.number)
    }
}

fn header_bytes(name: &str, values: &[async_nats::HeaderValue]) -> usize {
    values.iter().map(|value| name.len() + value.as_str().len() + 4).sum()
}

/// Notes that nobody sends any more, however a sender ends.
struct Away(Arc<Spool>);

impl Drop for Away {
    fn drop(&mut self) {
        self.0.is_connected.store(false, Ordering::Relaxed);
        self.0.due.notify_one();
    }
}
