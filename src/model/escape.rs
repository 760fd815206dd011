//! Text that stands inside other text: in an address, in HTML.

/// Writes text so that it may be a value in a form or behind an address's `?`, as Go's `url.QueryEscape`: as in a path,
/// but a blank becomes `+`.
pub fn encode_query(text: &str) -> String {
    encode_path(text).replace("%20", "+")
}

/// Writes text so that it may be a part of an address's path: all but letters, digits and `-_.~` as `%XX` (RFC 3986).
pub fn encode_path(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => safe.push(char::from(byte)),
            _ => {
                let digit = |four_bits: u8| char::from_digit(u32::from(four_bits), 16).map(|c| c.to_ascii_uppercase());
                safe.push('%');
                safe.extend([digit(byte >> 4), digit(byte & 0xf)].into_iter().flatten());
            }
        }
    }
    safe
}

/// Writes text so that it is text in HTML and SVG, between tags and in attributes.
pub fn escape_html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&#34;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_mean_something_in_an_address_is_encoded() {
        assert_eq!(encode_query("sum by (up{b=~\"ö+\"})&"), "sum+by+%28up%7Bb%3D~%22%C3%B6%2B%22%7D%29%26");
        assert_eq!(encode_path("a-b_c.d~9 \u{1}/"), "a-b_c.d~9%20%01%2F");
    }

    #[test]
    fn what_could_mean_something_in_html_is_escaped() {
        assert_eq!(
            escape_html("<a href=\"x\" id='y'>&ü</a>"),
            "&lt;a href=&#34;x&#34; id=&#39;y&#39;&gt;&amp;ü&lt;/a&gt;"
        );
    }
}
