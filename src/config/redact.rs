//! URLs as they may be shown: paths, queries and passwords often hold a provider's key.

use std::error::Error;
use url::Url;

/// A URL without what may be secret: scheme, host and port are left.
pub(crate) fn redact(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{}://{host}:{port}", url.scheme()),
        (Some(host), None) => format!("{}://{host}", url.scheme()),
        (None, _) => url.scheme().to_owned(),
    }
}

/// A text in which each URL is redacted: libraries put those that they were given into their errors.
pub(crate) fn redact_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let plain = before.trim_end_matches(is_scheme);
        let scheme = before.get(plain.len()..).unwrap_or_default();
        let (url, left) = after.split_at(end_of_url(after));
        // What ends a sentence is not part of the URL in it.
        let trimmed = url.trim_end_matches([':', '.', '!', '?', ',', ';', '\\', ']']);
        let ending = url.get(trimmed.len()..).unwrap_or_default();
        shown.push_str(plain);
        match Url::parse(&format!("{scheme}://{trimmed}")) {
            Ok(url) => shown.push_str(&redact(&url)),
            // An address of version 6 alone ends in the bracket.
            Err(_) => match Url::parse(&format!("{scheme}://{trimmed}]")) {
                Ok(url) => {
                    shown.push_str(&redact(&url));
                    rest = left;
                    shown.push_str(ending.strip_prefix(']').unwrap_or(ending));
                    continue;
                }
                Err(_) => {
                    shown.push_str(scheme);
                    shown.push_str("://(hidden)");
                }
            },
        }
        shown.push_str(ending);
        rest = left;
    }
    shown.push_str(rest);
    shown
}

/// Where a URL ends that a text goes on with: quotes and white space are no part of one. A closing parenthesis is, if an
/// opening one is in it: a provider's key may hold anything.
fn end_of_url(text: &str) -> usize {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '"' | '\'' | '`' | '<' | '>' => return at,
            c if c.is_whitespace() || c.is_control() => return at,
            '(' => open = open.saturating_add(1),
            ')' if open == 0 => return at,
            ')' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

/// An error with its causes, each told once and without the secrets of URLs: that nobody answered is of little use without
/// the reason, a refusal, a name that is not known, a certificate, a time-out.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        next = cause.source();
    }
    redact_text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_of_each_url_what_is_no_secret() {
        for (text, shown) in [
            ("no url", "no url"),
            ("https://rpc.example/v2/SECRET", "https://rpc.example"),
            (
                "error sending request for url (http://user:SECRET@127.0.0.1:1/v2/SECRET?key=SECRET): refused",
                "error sending request for url (http://127.0.0.1:1): refused",
            ),
            (
                "\"https://a.example/SECRET\",\"wss://b.example/SECRET\"",
                "\"https://a.example\",\"wss://b.example\"",
            ),
            ("at https://a.example/SECRET: no", "at https://a.example: no"),
            ("https://a.example/SEC(RE)T, then", "https://a.example, then"),
            ("https://a.example/SEC,RET;x#SECRET.", "https://a.example."),
            ("http://[::1]:8545/SECRET", "http://[::1]:8545"),
            ("http://[::1]", "http://[::1]"),
            ("[https://a.example/SECRET]", "[https://a.example]"),
            ("{\"url\":\"https://a.example/SECRET\\\"\"}", "{\"url\":\"https://a.example\\\"\"}"),
            ("http://:SECRET@/SECRET", "http://(hidden)"),
            ("ünïcode https://é.example/SECRET ü", "ünïcode https://xn--9ca.example ü"),
        ] {
            let actual = redact_text(text);
            assert_eq!(actual, shown);
            assert!(!actual.contains("SECRET"), "{actual}");
        }
    }

    #[tokio::test]
    async fn tells_why_nobody_answered_and_not_the_key() {
        let refused = crate::ports::HeldPort::hold(([127, 0, 0, 1], 0).into()).unwrap();
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let garbled = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let garbled_at = garbled.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = garbled.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"no TLS here\r\n\r\n").await.unwrap();
        });
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(std::time::Duration::from_millis(300))
            .build()
            .unwrap();
        for (url, words) in [
            (format!("http://{}/v2/SECRET", refused.address()), "refused"),
            (format!("http://{}/v2/SECRET", silent.local_addr().unwrap()), "timed out"),
            ("http://nowhere.invalid/v2/SECRET".to_owned(), "dns"),
            (format!("https://user:SECRET@{garbled_at}/v2"), "InvalidContentType"),
        ] {
            let error = client.get(&url).send().await.unwrap_err();
            let told = causes(&error);
            assert!(!told.contains("SECRET"), "{told}");
            // A machine may be slow enough to time out in place of any other reason.
            assert!(told.contains(words) || told.contains("timed out"), "{words}: {told}");
        }
        answering.abort();
    }
}
