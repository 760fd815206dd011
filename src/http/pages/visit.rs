//! What a request for a page says: address, parameters, wish for light or dark.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use crate::http::AppState;
pub(super) use crate::model::encode_query as encode;

use crate::model::Timestamp;

/// The parameters of an address, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    /// Reads the part of an address after the question mark; the last of a repeated name wins.
    fn read(query: &str) -> Params {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(
            &format!("/?{query}").parse().unwrap_or_default(),
        );
        Params(pairs.map(|q| q.0.into_iter().collect()).unwrap_or_default())
    }

    /// Returns parameters from pairs.
    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    /// Returns a value that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// Returns the address of the same page with some parameters changed; an empty value removes one.
    pub(super) fn with(&self, changes: &[(&str, &str)]) -> String {
        let mut changed = self.0.clone();
        for (name, value) in changes {
            changed.insert((*name).to_owned(), (*value).to_owned());
        }
        let pairs: Vec<String> = changed
            .iter()
            .filter(|(_, v)| !v.is_empty())
            .map(|(n, v)| format!("{}={}", encode(n), encode(v)))
            .collect();
        format!("?{}", pairs.join("&"))
    }

    /// Returns the address of the same page without a parameter.
    pub(super) fn without(&self, name: &str) -> String {
        self.with(&[(name, "")])
    }
}

/// Whether a page is light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Theme {
    /// As the reader's system has it.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// Reads a name; what is not one is the system's.
    pub(super) fn read(name: &str) -> Theme {
        match name {
            "light" => Theme::Light,
            "dark" => Theme::Dark,
            _ => Theme::System,
        }
    }

    /// Returns the class of the whole page.
    pub(super) fn class(self) -> &'static str {
        match self {
            Theme::System => "system",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    /// Returns what browsers call it.
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Theme::System => "light dark",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    /// Returns the next one in turn.
    pub(super) fn other(self) -> &'static str {
        match self {
            Theme::System => "dark",
            Theme::Dark => "light",
            Theme::Light => "system",
        }
    }

    /// Returns its name for people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Theme::System => "System theme",
            Theme::Light => "Light theme",
            Theme::Dark => "Dark theme",
        }
    }
}

/// One request for a page.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    /// Path and parameters, to come back to.
    pub(super) path: String,
    /// Parameters of the address.
    pub(super) params: Params,
    /// Light or dark: by the address (for one look), else by the cookie.
    pub(super) theme: Theme,
    /// When the request came: the `now` of everything on the page.
    pub(super) now: Timestamp,
}

impl FromRequestParts<AppState> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let params = Params::read(parts.uri.query().unwrap_or(""));
        let cookies = parts.headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
        let cookie = cookies.flat_map(|c| c.split(';')).find_map(|c| c.trim().strip_prefix("theme="));
        let theme = Theme::read(params.get("theme").or(cookie).unwrap_or(""));
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        Ok(Visit { path, params, theme, now: state.clock.now() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_go_round() {
        let params = Params::read("q=rate(x%5B5m%5D)+%3E+1&range=6h&range=1h&empty=");
        assert_eq!(params.get("q"), Some("rate(x[5m]) > 1"));
        assert_eq!((params.get("range"), params.get("empty")), (Some("1h"), None));
        assert_eq!(Params::read(params.with(&[]).trim_start_matches('?')).get("q"), params.get("q"));
        assert_eq!(params.without("q"), "?range=1h");
    }
}
