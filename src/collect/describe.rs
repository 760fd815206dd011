//! What went wrong with a request, in a person's words.

use std::error::Error as _;

/// Longest text that is shown.
const CHARS_MAX: usize = 200;

/// Returns what went wrong as the innermost cause tells it: `connection refused`, not `error sending request`.
pub(super) fn describe(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = if error.source().is_none() {
        // The URL is known to whoever reads this, and may hold parameters that are not for every eye.
        error.to_string().split(" for url").next().unwrap_or_default().to_owned()
    } else {
        innermost.to_string()
    };
    if text.contains("CaUsedAsEndEntity") {
        // The TLS library's own words help nobody; `openssl req -x509` makes such certificates.
        return "the server's certificate is that of an authority (CA:TRUE), which is not taken as a server's own; \
                make one with basicConstraints=CA:FALSE"
            .to_owned();
    }
    text.chars().take(CHARS_MAX).collect()
}
