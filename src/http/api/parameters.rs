//! Parameters of the Prometheus API: from the address and, for POST, from a form.

use axum::extract::{Form, FromRequest, Query, Request};
use axum::http::{Method, header};

use super::format::ApiError;
use crate::model::{Timestamp, parse_duration};

/// Upper bound of a time that is asked for: upstream's lowest and highest times lie within.
const SECONDS_MAX: f64 = 9.2e15;

/// The parameters of a request in order; names may repeat. Those of the form come first.
#[derive(Debug, Default)]
pub(in crate::http) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bad = |error: &dyn std::fmt::Display| ApiError::bad_data(format!("error parsing form values: {error}"));
        let Query(of_address): Query<Vec<(String, String)>> =
            Query::try_from_uri(request.uri()).map_err(|e| bad(&e))?;
        let content = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let is_form = *request.method() == Method::POST && content.starts_with("application/x-www-form-urlencoded");
        let mut all = Vec::new();
        if is_form {
            let form: Form<Vec<(String, String)>> = Form::from_request(request, state).await.map_err(|e| bad(&e))?;
            all = form.0;
        }
        all.extend(of_address);
        Ok(Parameters(all))
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

    /// Returns a time.
    pub(in crate::http) fn time(&self, name: &str, missing: Timestamp) -> Result<Timestamp, ApiError> {
        let Some(text) = self.get(name) else { return Ok(missing) };
        Timestamp::parse(text)
            .map_err(|_| ApiError::parameter(name, format_args!("cannot parse {text:?} to a valid timestamp")))
    }

    /// Returns a duration: seconds, or as PromQL writes it.
    pub(in crate::http) fn duration(&self, name: &str) -> Result<Option<std::time::Duration>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let refused = || ApiError::parameter(name, format_args!("cannot parse {text:?} to a valid duration"));
        match text.parse::<f64>() {
            Ok(seconds) if seconds.is_finite() && seconds.abs() <= SECONDS_MAX / 1e6 => {
                if seconds < 0.0 {
                    return Err(ApiError::parameter(name, "must not be negative"));
                }
                Ok(Some(std::time::Duration::from_secs_f64(seconds)))
            }
            Ok(_) => Err(refused()),
            Err(_) => parse_duration(text).map(Some).map_err(|_| refused()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Parameters {
        Parameters(vec![(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn durations_are_seconds_or_text() {
        let ms = |text: &str| one("step", text).duration("step").map(|d| d.map(|d| d.as_millis()));
        assert_eq!(ms("15"), Ok(Some(15_000)));
        assert_eq!(ms("0.5"), Ok(Some(500)));
        assert_eq!(ms("1m30s"), Ok(Some(90_000)));
        assert_eq!(ms(""), Ok(None));
        for bad in ["-1", "NaN", "Inf", "1e300", "5x"] {
            assert_eq!(ms(bad).unwrap_err().kind, "bad_data", "{bad}");
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
