//! `andon backfill`: samples of the past for a running box, from a file in OpenMetrics text.
//!
//! A file is read twice: once to see that all of it is sound, so that a mistake in its middle changes nothing, and
//! once to send it by remote write. To run the same file again does no harm: what the box has already stays as it is.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{Method, Response, StatusCode, header};

use super::ask::{Place, refusal, send};
use crate::model::{HttpClient, Labels, Timestamp};
use crate::outbound::Outbound;
use crate::wire::exposition::{Entry, Format, Parser};
use crate::wire::remote_write::Encoder;

/// The file is read in parts of this size, each up to the end of a line.
const PART_BYTES: usize = 1 << 20;

/// Longest line.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Samples of one request.
const REQUEST_SAMPLES_MAX: usize = 20_000;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(150);

/// A box that takes nothing is asked so often, with so long between: ten minutes.
const TRIES: u32 = 120;
const PAUSE: Duration = Duration::from_secs(5);

/// Arguments of `andon backfill`.
#[derive(Debug, Args)]
pub(super) struct BackfillArgs {
    /// The file, in OpenMetrics text with a time on each sample; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Only read the file from end to end and tell what is in it
    #[arg(long)]
    check: bool,
}

/// Checks, sends and tells; 1 if the box refused some of it.
pub(super) fn run(args: &BackfillArgs) -> anyhow::Result<ExitCode> {
    let name = args.file.display().to_string();
    let is_stream = args.file.as_os_str() == "-";
    let open = || File::open(&args.file).with_context(|| format!("cannot open {name}"));
    if args.check || !is_stream {
        let mut seen = Seen::default();
        let mut count = |request: &mut Request| {
            seen.note(request);
            Ok(())
        };
        if is_stream { read(io::stdin().lock(), &mut count) } else { read(open()?, &mut count) }
            .with_context(|| format!("{name}: nothing was sent"))?;
        if args.check {
            say(&format!("{name}: good: {}", seen.told()));
            return Ok(ExitCode::SUCCESS);
        }
    }
    let mut sender = Sender::new(&args.place)?;
    let mut hand_on = |request: &mut Request| sender.send(request);
    let sent = if is_stream { read(io::stdin().lock(), &mut hand_on) } else { read(open()?, &mut hand_on) };
    let done = format!("{name}: {} taken by {}", sender.seen.told(), args.place);
    sent.with_context(|| format!("{done}; run it again when that is mended, what is there already stays as it is"))?;
    say(&done);
    let Some(why) = &sender.first_refusal else { return Ok(ExitCode::SUCCESS) };
    say(&format!("{} samples were refused, first: {why}", sender.refused));
    Ok(ExitCode::FAILURE)
}

#[expect(clippy::print_stdout, reason = "telling what was done is what this command ends with")]
fn say(text: &str) {
    println!("{text}");
}

/// What goes over at once.
#[derive(Debug, Default)]
struct Request {
    /// Where in `series` a series is that the file writes so.
    places: HashMap<String, usize>,
    series: Vec<(Labels, Vec<(i64, f64)>)>,
    samples: usize,
}

impl Request {
    fn clear(&mut self) {
        self.places.clear();
        self.series.clear();
        self.samples = 0;
    }
}

/// Reads a whole file and hands it on, request by request.
fn read(mut file: impl Read, hand_on: &mut dyn FnMut(&mut Request) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut request = Request::default();
    let mut parser = Parser::new(&[], Format::OpenMetrics)?;
    let (mut part, mut has_more) = (Vec::new(), true);
    while has_more && !parser.has_ended() {
        let kept = part.len();
        has_more = file.by_ref().take(PART_BYTES as u64).read_to_end(&mut part)? > 0;
        let end = if has_more { part.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) } else { kept };
        if part.len() - end > LINE_BYTES_MAX {
            bail!("a line is longer than {} MiB", LINE_BYTES_MAX >> 20);
        }
        let (lines, _) = part.split_at(end);
        let mut lines = parser.continued(lines)?;
        read_lines(&mut lines, &mut request, hand_on)?;
        parser = lines.continued(&[])?;
        if lines.has_ended() {
            break;
        }
        part.drain(..end);
        if !has_more {
            bail!("it does not end with \"# EOF\", so it may have been cut off");
        }
    }
    if request.samples > 0 {
        hand_on(&mut request)?;
    }
    Ok(())
}

fn read_lines(
    lines: &mut Parser<'_>,
    request: &mut Request,
    hand_on: &mut dyn FnMut(&mut Request) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for entry in lines {
        let Entry::Sample(sample) = entry? else { continue };
        let Some(time) = sample.timestamp_ms else { bail!("line {}: the sample has no time", sample.line) };
        let place = match request.places.get(sample.series) {
            Some(place) => *place,
            None => {
                let place = request.series.len();
                request.places.insert(sample.series.to_owned(), place);
                request.series.push((sample.labels()?, Vec::new()));
                place
            }
        };
        if let Some((_, samples)) = request.series.get_mut(place) {
            samples.push((time, sample.value));
            request.samples += 1;
        }
        if request.samples == REQUEST_SAMPLES_MAX {
            hand_on(request)?;
            request.clear();
        }
    }
    Ok(())
}

/// What has gone by.
#[derive(Debug, Default)]
struct Seen {
    samples: u64,
    span: Option<(i64, i64)>,
}

impl Seen {
    fn note(&mut self, request: &Request) {
        self.samples += request.samples as u64;
        for (time, _) in request.series.iter().flat_map(|(_, samples)| samples) {
            let (first, last) = self.span.unwrap_or((*time, *time));
            self.span = Some((first.min(*time), last.max(*time)));
        }
    }

    fn told(&self) -> String {
        let time = |ms| Timestamp::from_millis(ms).to_rfc3339();
        match self.span {
            None => "no samples".to_owned(),
            Some((first, last)) => format!("{} samples, {} to {}", self.samples, time(first), time(last)),
        }
    }
}

/// Sends requests by remote write and keeps account.
struct Sender {
    runtime: tokio::runtime::Runtime,
    client: Outbound,
    url: String,
    encoder: Encoder,
    seen: Seen,
    refused: u64,
    first_refusal: Option<String>,
}

impl Sender {
    fn new(place: &Place) -> anyhow::Result<Sender> {
        Ok(Sender {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            client: Outbound::new(&HttpClient::plain(), TIMEOUT)?,
            url: place.address("/api/v1/write"),
            encoder: Encoder::new(),
            seen: Seen::default(),
            refused: 0,
            first_refusal: None,
        })
    }

    fn send(&mut self, request: &mut Request) -> anyhow::Result<()> {
        for (labels, samples) in &mut request.series {
            samples.sort_by_key(|(time, _)| *time);
            self.encoder.push(labels, samples.iter().copied());
        }
        let body = self.encoder.finish()?;
        let mut tries = 0;
        loop {
            tries += 1;
            let response = self.runtime.block_on(self.post(body.clone()))?;
            let status = response.status();
            let taken = taken(&response);
            if status.is_success() {
                self.seen.note(request);
                return Ok(());
            }
            let why = self.runtime.block_on(refusal(response))?;
            let why = String::from_utf8_lossy(&why).trim().to_owned();
            match (status, taken) {
                // Some of it is bad by itself; the rest was taken.
                (StatusCode::BAD_REQUEST, Some(taken)) => {
                    let refused = (request.samples as u64).saturating_sub(taken);
                    self.refused += refused;
                    self.first_refusal.get_or_insert(why);
                    self.seen.note(request);
                    self.seen.samples -= refused;
                    return Ok(());
                }
                (StatusCode::SERVICE_UNAVAILABLE, _) if tries < TRIES => std::thread::sleep(PAUSE),
                _ => bail!("the box answered {status}: {why}"),
            }
        }
    }

    async fn post(&self, body: Vec<u8>) -> anyhow::Result<Response> {
        let request = self
            .client
            .request(Method::POST, &self.url)?
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0");
        send(request.body(body), &self.url, "").await
    }
}

/// Returns how many samples of a request were taken, if the answer says so.
fn taken(response: &Response) -> Option<u64> {
    response.headers().get("x-prometheus-remote-write-samples-written")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &[u8]) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let mut note = |request: &mut Request| {
            found.extend(request.series.iter().map(|(labels, samples)| format!("{labels} {samples:?}")));
            Ok(())
        };
        read(text, &mut note).map_err(|error| error.to_string())?;
        Ok(found)
    }

    #[test]
    fn samples_of_a_series_go_together() {
        let text = b"# TYPE m gauge\nm{a=\"1\"} 1 10\nm{a=\"2\"} 5 10\nm{a=\"1\"} 2 10.5\n# EOF\nnot read";
        let expected = ["m{a=\"1\"} [(10000, 1.0), (10500, 2.0)]", "m{a=\"2\"} [(10000, 5.0)]"];
        assert_eq!(read_all(text).unwrap(), expected);
    }

    #[test]
    fn a_file_is_read_across_its_parts() {
        let line = format!("m{{a=\"{}\"}} 1 1\n", "x".repeat(1000));
        let text = format!("{}# EOF\n", line.repeat(3000));
        let found = read_all(text.as_bytes()).unwrap();
        assert_eq!(found.len(), 1);
        let broken = format!("{}{}\n# EOF\n", line.repeat(3000), "m one 1");
        assert!(read_all(broken.as_bytes()).unwrap_err().starts_with("line 3001: "));
        let mut bytes = line.repeat(2000).into_bytes();
        bytes.extend(b"m{a=\"\xff\"} 1 1\n# EOF\n");
        assert_eq!(read_all(&bytes).unwrap_err(), "line 2001: not UTF-8");
    }

    #[test]
    fn what_is_not_whole_is_named() {
        assert_eq!(read_all(b"m 1\n# EOF\n").unwrap_err(), "line 1: the sample has no time");
        assert!(read_all(b"m 1 1\n").unwrap_err().contains("does not end with \"# EOF\""));
        assert!(read_all(b"").unwrap_err().contains("does not end with \"# EOF\""));
        assert!(read_all(&vec![b'x'; 3 << 20]).unwrap_err().contains("longer than 1 MiB"));
        assert_eq!(read_all(b"# EOF").unwrap(), Vec::<String>::new());
    }
}
