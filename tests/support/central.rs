//! A pretend central: takes remote write, remembers every point, misbehaves on command.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use andon::wire::remote_write;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

/// How central answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mode {
    /// Takes everything.
    Take,
    /// Takes nothing and answers so.
    Answer(u16),
    /// Takes what is not of this metric; answers 400 if there was any of it.
    RefuseMetric(&'static str),
}

/// A central on a port of its own; ends with the runtime.
#[derive(Clone)]
pub(crate) struct Central(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    seen: Mutex<Seen>,
}

struct Seen {
    mode: Mode,
    /// How often each point came, by series (`{a="b"}` text), time in ms and the value's bits.
    points: BTreeMap<(String, i64, u64), usize>,
    /// Newest time of each series.
    newest: BTreeMap<String, i64>,
    backwards: usize,
    requests: usize,
    headers: HeaderMap,
}

impl Central {
    /// Starts listening.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let seen = Seen {
            mode: Mode::Take,
            points: BTreeMap::new(),
            newest: BTreeMap::new(),
            backwards: 0,
            requests: 0,
            headers: HeaderMap::new(),
        };
        let central = Central(Arc::new(Inner { address: listener.local_addr().unwrap(), seen: Mutex::new(seen) }));
        let router = Router::new().route("/api/v1/write", post(take)).with_state(central.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        central
    }

    /// Returns where to post.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.0.address)
    }

    /// Behaves so from now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.0.seen.lock().unwrap().mode = mode;
    }

    /// Returns each series with its times, in order, `*N` behind a time that came N times.
    pub(crate) fn text(&self) -> String {
        let seen = self.0.seen.lock().unwrap();
        let mut series: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((labels, t, _), n) in &seen.points {
            let times = if *n == 1 { t.to_string() } else { format!("{t}*{n}") };
            series.entry(labels).or_default().push(times);
        }
        series.iter().map(|(labels, times)| format!("{labels} {}", times.join(" "))).collect::<Vec<_>>().join("\n")
    }

    /// Returns how many different points came.
    pub(crate) fn points(&self) -> usize {
        self.0.seen.lock().unwrap().points.len()
    }

    /// Returns how many points came more than once.
    pub(crate) fn twice(&self) -> usize {
        self.0.seen.lock().unwrap().points.values().filter(|n| **n > 1).count()
    }

    /// Returns how many points came after a newer one of their series.
    pub(crate) fn backwards(&self) -> usize {
        self.0.seen.lock().unwrap().backwards
    }

    /// Returns how many requests came, refused ones included.
    pub(crate) fn requests(&self) -> usize {
        self.0.seen.lock().unwrap().requests
    }

    /// Returns a header of the last request.
    pub(crate) fn header(&self, name: &str) -> String {
        let seen = self.0.seen.lock().unwrap();
        seen.headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

async fn take(State(central): State<Central>, headers: HeaderMap, body: Bytes) -> Response {
    let mut seen = central.0.seen.lock().unwrap();
    seen.requests += 1;
    seen.headers = headers;
    if let Mode::Answer(status) = seen.mode {
        let status = StatusCode::from_u16(status).unwrap();
        return (status, [("retry-after", "0")], "not now\n").into_response();
    }
    let mut bytes = Vec::new();
    remote_write::unpack(&body, &mut bytes).unwrap();
    let mut refused = 0;
    for entry in remote_write::Reader::new(&bytes) {
        let remote_write::Entry::Series(series) = entry.unwrap() else { continue };
        let pairs: Vec<(&str, &str)> = series.labels().map(Option::unwrap).collect();
        let name = pairs.iter().find(|(n, _)| *n == "__name__").map_or("", |(_, v)| v);
        if seen.mode == (Mode::RefuseMetric("bad")) && name == "bad" {
            refused += series.parts().count();
            continue;
        }
        let others: Vec<String> =
            pairs.iter().filter(|(n, _)| *n != "__name__").map(|(n, v)| format!("{n}={v:?}")).collect();
        let labels = format!("{name}{{{}}}", others.join(","));
        for part in series.parts() {
            let remote_write::Part::Sample(t, value) = part.unwrap() else { panic!("a native histogram") };
            *seen.points.entry((labels.clone(), t, value.to_bits())).or_default() += 1;
            let newest = seen.newest.entry(labels.clone()).or_insert(i64::MIN);
            if t < *newest {
                seen.backwards += 1;
            } else {
                *newest = t;
            }
        }
    }
    if refused > 0 {
        return (StatusCode::BAD_REQUEST, format!("{refused} samples refused")).into_response();
    }
    StatusCode::NO_CONTENT.into_response()
}
