//! Why there is no connection to NATS, with the setting that is to be looked at and what to do about it.

use std::error::Error as _;

use async_nats::{ConnectError, ConnectErrorKind};

use super::{Credentials, NatsConfig};

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// A word for metrics.
    pub(super) reason: &'static str,
    /// A text for people.
    pub(super) text: String,
}

impl Refusal {
    /// Returns the refusal of settings that cannot be used.
    pub(super) fn of_settings(text: String) -> Self {
        Refusal { reason: "settings", text }
    }

    /// Returns what an attempt to connect with these settings failed with.
    pub(super) fn of(error: &ConnectError, config: &NatsConfig) -> Self {
        let mut told = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            if !told.contains(&text) {
                told = format!("{told}: {text}");
            }
            source = inner.source();
        }
        Refusal::told(error.kind(), &told, config)
    }

    fn told(kind: ConnectErrorKind, told: &str, config: &NatsConfig) -> Self {
        let lower = told.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        // The other end's refusal of our certificate comes as an alert on a connection that seemed to stand.
        let is_tls = kind == ConnectErrorKind::Tls || says(&["certificate", "alert", "handshake", "tls"]);
        let is_identity = says(&["authorization", "authentication", "nkey", "seed", "signature"]);
        let (reason, help) = match kind {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                ("not_authorized", Some(of_credentials(&config.credentials)))
            }
            _ if is_tls => ("tls", Some(of_tls(&lower, config))),
            _ if is_identity => ("not_authorized", Some(of_credentials(&config.credentials))),
            ConnectErrorKind::Dns => {
                ("dns", Some("no such name: look at bus.nats.servers and at the box's DNS".into()))
            }
            ConnectErrorKind::TimedOut => ("timeout", None),
            ConnectErrorKind::Io => ("refused", None),
            _ => ("other", None),
        };
        let text = help.map_or_else(|| told.to_owned(), |help| format!("{help} ({told})"));
        Refusal { reason, text }
    }
}

fn of_credentials(credentials: &Credentials) -> String {
    match credentials {
        Credentials::None => "NATS asks who this box is: set user and password, token, nkey or credentials_file in \
                              bus.nats"
            .to_owned(),
        Credentials::UserPassword { .. } => {
            "NATS does not take bus.nats.user with bus.nats.password: compare both with \
                                             the server's settings"
                .to_owned()
        }
        Credentials::Token(_) => {
            "NATS does not take bus.nats.token: compare it with the server's authorization".to_owned()
        }
        Credentials::NKey(_) => {
            "NATS does not take bus.nats.nkey: it has to be a user's seed (SU...), and its public key \
                                 (U...) among the server's users"
                .to_owned()
        }
        Credentials::File(path) => format!(
            "NATS does not take bus.nats.credentials_file {}: its user may be expired, revoked or of an account that the \
             server does not know; get a new one (nsc generate creds)",
            path.display()
        ),
    }
}

fn of_tls(told: &str, config: &NatsConfig) -> String {
    let is_about_ours = ["certificaterequired", "certificate required", "alert"].iter().any(|word| told.contains(word));
    match (is_about_ours, &config.certificate, &config.ca_file) {
        (true, None, _) => {
            "NATS wants a certificate of this box: set bus.nats.cert_file and bus.nats.key_file".to_owned()
        }
        (true, Some((certificate, _)), _) => format!(
            "NATS does not take the certificate bus.nats.cert_file {}: it has to be signed by the server's ca_file and in \
             its time",
            certificate.display()
        ),
        (false, _, None) => {
            "the certificate of NATS is not trusted: set bus.nats.ca_file to the authority that signed it, \
                             and name the server in bus.nats.servers as its certificate does"
                .to_owned()
        }
        (false, _, Some(ca)) => format!(
            "TLS with NATS fails: bus.nats.ca_file {} has to hold the authority that signed the server's certificate, and \
             bus.nats.servers a name that stands in it",
            ca.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: ConnectErrorKind, told: &str, credentials: Credentials, reason: &str, named: &str) {
        let config = NatsConfig { credentials, ..NatsConfig::new(vec!["nats://hub".into()]) };
        let refusal = Refusal::told(kind, told, &config);
        assert_eq!(refusal.reason, reason, "{refusal:?}");
        assert!(refusal.text.contains(named) && refusal.text.contains(told), "{refusal:?}");
    }

    #[test]
    fn a_refusal_names_the_setting() {
        let none = || Credentials::None;
        let token = || Credentials::Token("t".into());
        check(
            ConnectErrorKind::AuthorizationViolation,
            "authorization violation",
            none(),
            "not_authorized",
            "set user",
        );
        check(ConnectErrorKind::Authentication, "no nonce", token(), "not_authorized", "bus.nats.token");
        check(ConnectErrorKind::Io, "user authentication expired", token(), "not_authorized", "bus.nats.token");
        check(ConnectErrorKind::Tls, "invalid peer certificate", none(), "tls", "bus.nats.ca_file");
        check(ConnectErrorKind::Io, "received fatal alert: CertificateRequired", none(), "tls", "bus.nats.cert_file");
        check(ConnectErrorKind::Dns, "no such host", none(), "dns", "bus.nats.servers");
        check(ConnectErrorKind::Io, "connection refused", none(), "refused", "connection refused");
    }
}
