//! Parameters of the Prometheus API: from the address and, for POST, from a form.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Form, FromRequest, Query, Request};
use axum::http::{Method, header};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::format::ApiError;
use crate::model::{Matcher, Timestamp, parse_duration};
use crate::query::promql::parse_selector;

/// Upper bound of a time that is asked for: what lies beyond, up to [`SECONDS_TOLD`], is as far away.
const SECONDS_MAX: f64 = 9.2e15;

/// Upstream's lowest and highest times lie within; clients send them for "all".
const SECONDS_TOLD: f64 = 9.3e15;

/// How older clients write upstream's lowest and highest times, which are no dates for anybody else.
const FIRST_AND_LAST: [&str; 2] = ["-292273086-05-16T16:47:06Z", "292277025-08-18T07:12:54.999999999Z"];

/// Upper bound of a duration in seconds: upstream counts nanoseconds in 64 bits.
const DURATION_SECONDS_MAX: f64 = 9_223_372_036.854_775;

/// Forms up to this size are read at once.
const FORM_SMALL_BYTES: usize = 64 << 10;

/// What larger forms may take together, by all requests that are being read or answered; each is in memory up to three
/// times until it is understood.
const FORMS_KIB: usize = 8 << 10;

/// How long a request may wait for room for its form, and how long the form may take to come.
const FORM_WAITS_MAX: Duration = Duration::from_secs(10);
const FORM_COMES_WITHIN: Duration = Duration::from_secs(30);

/// The parameters of a request in order; names may repeat. Those of the form come first.
#[derive(Debug, Default)]
pub(in crate::http) struct Parameters(
    Vec<(String, String)>,
    #[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>,
);

/// Room for large forms; an extension of every request.
#[derive(Debug, Clone)]
pub(in crate::http) struct FormRoom(Arc<Semaphore>);

impl Default for FormRoom {
    fn default() -> Self {
        FormRoom(Arc::new(Semaphore::new(FORMS_KIB)))
    }
}

impl FormRoom {
    /// Takes room for so many bytes.
    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let kib = u32::try_from((bytes >> 10).min(FORMS_KIB)).unwrap_or(u32::MAX);
        let taken = tokio::time::timeout(FORM_WAITS_MAX, self.0.clone().acquire_many_owned(kib)).await;
        let taken = taken.map_err(|_| ApiError::unavailable("other large requests are being answered"))?;
        taken.map_err(|closed| ApiError::internal(closed.to_string()))
    }
}

impl<S: Send + Sync> FromRequest<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bad = |error: &dyn std::fmt::Display| ApiError::bad_data(format!("error parsing form values: {error}"));
        let Query(of_address): Query<Vec<(String, String)>> =
            Query::try_from_uri(request.uri()).map_err(|e| bad(&e))?;
        let content = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let is_form = *request.method() == Method::POST && content.starts_with("application/x-www-form-urlencoded");
        let (mut all, mut taken) = (Vec::new(), None);
        if is_form {
            let length = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
            // One that does not say how long it is may be as long as any.
            let length: usize = length.unwrap_or(FORMS_KIB << 10);
            if let Some(room) = request.extensions().get::<FormRoom>().filter(|_| length > FORM_SMALL_BYTES).cloned() {
                taken = Some(room.take(length).await?);
            }
            let form = tokio::time::timeout(FORM_COMES_WITHIN, Form::from_request(request, state));
            let form = form.await.map_err(|_| bad(&format_args!("not within {FORM_COMES_WITHIN:?}")))?;
            let form: Form<Vec<(String, String)>> = form.map_err(|e| bad(&e))?;
            all = form.0;
        }
        all.extend(of_address);
        Ok(Parameters(all, taken))
    }
}

impl Parameters {
    /// Returns the first value of a parameter; `None` if it is missing or empty.
    pub(in crate::http) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// Returns all values of a parameter.
    pub(in crate::http) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Returns a time that may be missing.
    pub(in crate::http) fn time(&self, name: &str, missing: Timestamp) -> Result<Timestamp, ApiError> {
        let Some(text) = self.get(name) else { return Ok(missing) };
        let wrong = || format!("Invalid time value for '{name}': cannot parse {text:?} to a valid timestamp");
        time(text).ok_or_else(|| ApiError::parameter(name, wrong()))
    }

    /// Returns a time that must be there.
    pub(in crate::http) fn required_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        let text = self.get(name).unwrap_or("");
        let wrong = || format!("cannot parse {text:?} to a valid timestamp");
        time(text).ok_or_else(|| ApiError::parameter(name, wrong()))
    }

    /// Returns a duration: seconds, or as PromQL writes it; zero for one that is negative.
    pub(in crate::http) fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let refused =
            |why: &str| ApiError::parameter(name, format_args!("cannot parse {text:?} to a valid duration{why}"));
        match text.parse::<f64>() {
            Ok(seconds) if seconds.abs() <= DURATION_SECONDS_MAX => Ok(Some(Duration::from_secs_f64(seconds.max(0.0)))),
            Ok(seconds) if seconds.is_nan() => Err(refused("")),
            Ok(_) => Err(refused(". It overflows int64")),
            Err(_) => parse_duration(text).map(Some).map_err(|_| refused("")),
        }
    }

    /// Returns the selectors under this name.
    pub(in crate::http) fn selectors(&self, name: &str) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let read = |text: &str| parse_selector(text).map_err(|e| ApiError::parameter(name, e));
        self.all(name).map(read).collect()
    }

    /// Returns `limit`: how many items at most; `None` for all.
    pub(in crate::http) fn limit(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(0) => Ok(None),
            Ok(limit) => {
                usize::try_from(limit).map(Some).map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))
            }
            Err(_) => Err(ApiError::parameter("limit", format_args!("{text:?} is not a number"))),
        }
    }
}

/// Reads seconds or RFC 3339.
fn time(text: &str) -> Option<Timestamp> {
    if let Some(is_last) = FIRST_AND_LAST.iter().position(|known| *known == text) {
        return Some(Timestamp::from_seconds(if is_last == 1 { SECONDS_MAX } else { -SECONDS_MAX }));
    }
    match text.parse::<f64>() {
        Ok(seconds) if seconds.abs() <= SECONDS_TOLD => {
            Some(Timestamp::from_seconds(seconds.clamp(-SECONDS_MAX, SECONDS_MAX)))
        }
        Ok(_) => None,
        Err(_) => Timestamp::parse(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Parameters {
        Parameters(vec![(name.to_owned(), value.to_owned())], None)
    }

    #[tokio::test(start_paused = true)]
    async fn large_forms_wait_for_room_and_not_for_ever() {
        let room = FormRoom::default();
        let read = async |bytes: usize| {
            let body = axum::body::Body::from(format!("query={}", "a".repeat(bytes)));
            let mut request = Request::new(body);
            *request.method_mut() = Method::POST;
            request.headers_mut().insert(header::CONTENT_LENGTH, (bytes + 6).into());
            let kind = "application/x-www-form-urlencoded".parse().unwrap();
            request.headers_mut().insert(header::CONTENT_TYPE, kind);
            request.extensions_mut().insert(room.clone());
            Parameters::from_request(request, &()).await
        };
        let held: Vec<Parameters> = vec![read(2_000_000).await.unwrap()];
        assert_eq!(held[0].get("query").map(str::len), Some(2_000_000));
        let rest = room.0.clone().acquire_many_owned(u32::try_from(room.0.available_permits()).unwrap()).await;
        assert_eq!(read(100_000).await.unwrap_err().kind, "unavailable");
        assert!(read(10_000).await.is_ok(), "a small one is read at once");
        drop(held);
        assert!(read(100_000).await.is_ok());
        drop(rest);
        assert_eq!(room.0.available_permits(), FORMS_KIB);
    }

    #[test]
    fn durations_are_seconds_or_text() {
        let ms = |text: &str| one("step", text).duration("step").map(|d| d.map(|d| d.as_millis()));
        assert_eq!(ms("15"), Ok(Some(15_000)));
        assert_eq!(ms("0.5"), Ok(Some(500)));
        assert_eq!(ms("1m30s"), Ok(Some(90_000)));
        assert_eq!(ms(""), Ok(None));
        assert_eq!(ms("-1"), Ok(Some(0)));
        for bad in ["NaN", "Inf", "1e300", "5x"] {
            assert_eq!(ms(bad).unwrap_err().kind, "bad_data", "{bad}");
        }
    }

    #[test]
    fn the_first_and_the_last_time_of_upstream_are_taken_as_their_clients_write_them() {
        let at = |text: &str| one("start", text).time("start", Timestamp::MIN).map(Timestamp::as_millis);
        assert_eq!(at("1435781451.781"), Ok(1_435_781_451_781));
        assert_eq!(at("2015-07-01T20:10:51.781Z"), Ok(1_435_781_451_781));
        for (text, is_past) in [
            ("-9223309901257974", true),
            ("-9223372036854775.808", true),
            ("9223309901257974", false),
            ("-292273086-05-16T16:47:06Z", true),
            ("292277025-08-18T07:12:54.999999999Z", false),
        ] {
            assert_eq!(at(text).unwrap() < 0, is_past, "{text}");
            assert!(at(text).unwrap().abs() > 9_000_000_000_000_000_000, "{text}");
        }
        for bad in ["x", "NaN", "Inf", "1e17"] {
            let error = at(bad).unwrap_err().message;
            assert!(error.ends_with(&format!("'start': cannot parse {bad:?} to a valid timestamp")), "{error}");
        }
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        assert_eq!(one("limit", "0").limit(), Ok(None));
        assert_eq!(one("limit", "7").limit(), Ok(Some(7)));
        assert!(one("limit", "-1").limit().is_err());
        assert!(one("limit", "x").limit().is_err());
    }
}
