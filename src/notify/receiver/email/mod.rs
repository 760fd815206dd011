//! A notice as a mail: HTML with a chart of the expression, and plain text, over SMTP.
//!
//! Source: Alertmanager, `notify/email`: its keys, defaults and decisions about TLS.

mod cram;
mod figure;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, Mailboxes, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Identity, Tls as Encryption, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use self::cram::Login;
use self::figure::{CHART_ID, with_figure};
use super::Failure;
use crate::model::{Secret, Tls};
use crate::notify::Picture;
use crate::notify::message::Message;
use crate::template::Template;

/// Longest header.
const HEADER_CHARS_MAX: usize = 998;

/// How the connection to the mail server is made safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// It begins in TLS: port 465, or `smtp_force_implicit_tls`.
    Implicit,
    /// STARTTLS, or nothing is sent: `require_tls`.
    StartTls,
    /// None.
    Plain,
}

/// One entry of `email_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Email {
    /// To whom, separated by commas.
    pub to: Template,
    /// From whom.
    pub from: Template,
    /// The mail server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How this box names itself to it.
    pub hello: String,
    /// User and password.
    pub credentials: Option<(String, Secret)>,
    /// User and secret for CRAM-MD5; goes before a password where the server offers it.
    pub cram: Option<(String, Secret)>,
    /// How the connection is made safe.
    pub security: SmtpSecurity,
    /// How the server is believed.
    pub tls: Tls,
    /// More headers, or others than the usual: `Subject`, `Reply-To`, `X-Priority`.
    pub headers: BTreeMap<String, Template>,
    /// The mail in HTML; empty: it has none.
    pub html: Template,
    /// The mail as text; empty: it has none.
    pub text: Template,
    /// Whether a chart of the expression comes with the HTML.
    pub has_chart: bool,
}

impl Email {
    /// Makes the mail. `chart` comes with its HTML.
    pub(super) fn mail(&self, message: &Message<'_>, chart: Option<&Picture>) -> Result<lettre::Message, String> {
        let mut headers = BTreeMap::new();
        for (name, template) in &self.headers {
            let value = match name.as_str() {
                "Subject" => message.headline(template, HEADER_CHARS_MAX)?,
                _ => message.render_within(template, HEADER_CHARS_MAX)?,
            };
            // A line end would begin another header.
            headers.insert(name.as_str(), value.replace(|c: char| c.is_control(), " "));
        }
        let (from, to) = (message.render(&self.from)?, message.render(&self.to)?);
        let sender: Mailbox = from.parse().map_err(|e| format!("from {from:?}: {e}"))?;
        let recipients: Mailboxes = to.parse().map_err(|e| format!("to {to:?}: {e}"))?;
        let addresses: Vec<lettre::Address> = recipients.iter().map(|m| m.email.clone()).collect();
        let envelope = lettre::address::Envelope::new(Some(sender.email.clone()), addresses);
        let shown_from = match headers.remove("From") {
            Some(text) => text.parse().map_err(|e| format!("header From {text:?}: {e}"))?,
            None => sender,
        };
        let shown_to = match headers.remove("To") {
            Some(text) => text.parse().map_err(|e| format!("header To {text:?}: {e}"))?,
            None => recipients,
        };
        let seconds = u64::try_from(message.now.as_millis() / 1000).unwrap_or(0);
        let id = format!("<{}.{:016x}@{}>", message.notice.id, rand::random::<u64>(), self.hello);
        let mut builder = lettre::Message::builder()
            .envelope(envelope.map_err(|e| e.to_string())?)
            .from(shown_from)
            .mailbox(lettre::message::header::To::from(shown_to))
            .subject(headers.remove("Subject").unwrap_or_default())
            .message_id(Some(id))
            .date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        for (name, value) in headers {
            let name =
                HeaderName::new_from_ascii(name.to_owned()).map_err(|_| format!("no header's name: {name:?}"))?;
            builder = builder.raw_header(HeaderValue::new(name, value));
        }
        let text = message.words(&self.text, usize::MAX)?;
        let html = message.render_html(&self.html)?;
        let mail = match (text.trim().is_empty(), html.trim().is_empty()) {
            (_, true) => builder.singlepart(SinglePart::plain(text)),
            (true, false) => builder.multipart(illustrated(html, chart)),
            (false, false) => {
                let parts = MultiPart::alternative().singlepart(SinglePart::plain(text));
                builder.multipart(parts.multipart(illustrated(html, chart)))
            }
        };
        mail.map_err(|e| e.to_string())
    }
}

/// Returns HTML with its chart, if there is one.
fn illustrated(html: String, chart: Option<&Picture>) -> MultiPart {
    let Some(chart) = chart else { return MultiPart::related().singlepart(SinglePart::html(html)) };
    let parts = MultiPart::related().singlepart(SinglePart::html(with_figure(html, chart)));
    match ContentType::parse("image/png") {
        Ok(kind) => {
            let attachment = Attachment::new_inline_with_name(CHART_ID.to_owned(), "chart.png".to_owned());
            parts.singlepart(attachment.body(chart.png.clone(), kind))
        }
        Err(_) => parts,
    }
}

/// A connection's settings to one mail server; each mail makes a connection of its own.
#[derive(Debug)]
pub(super) struct Mailer {
    cram: Option<Login>,
    has_password: bool,
    transport: AsyncSmtpTransport<Tokio1Executor>,
    timeout: Duration,
}

impl Mailer {
    pub(super) fn new(email: &Email, timeout: Duration) -> Result<Mailer, String> {
        let (encryption, tls) = match email.security {
            SmtpSecurity::Implicit => (Encryption::Wrapper(tls(email)?), Some((tls(email)?, true))),
            SmtpSecurity::StartTls => (Encryption::Required(tls(email)?), Some((tls(email)?, false))),
            SmtpSecurity::Plain => (Encryption::None, None),
        };
        let hello = ClientId::Domain(email.hello.clone());
        let cram = email.cram.as_ref().map(|(user, secret)| Login {
            server: (email.host.clone(), email.port),
            hello: hello.clone(),
            tls,
            user: user.clone(),
            secret: secret.clone(),
            timeout,
        });
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&email.host)
            .port(email.port)
            .hello_name(hello)
            .tls(encryption)
            .timeout(Some(timeout));
        if let Some((user, password)) = &email.credentials {
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            builder = builder.credentials(credentials).authentication(vec![Mechanism::Plain, Mechanism::Login]);
        }
        Ok(Mailer { cram, has_password: email.credentials.is_some(), transport: builder.build(), timeout })
    }

    /// Sends a mail; taken when the server has taken it.
    pub(super) async fn send(&self, mail: lettre::Message) -> Result<(), Failure> {
        match tokio::time::timeout(self.timeout, self.talk(mail)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::passing(format!("the mail server did not take it within {:?}", self.timeout))),
        }
    }

    async fn talk(&self, mail: lettre::Message) -> Result<(), Failure> {
        if let Some(login) = &self.cram {
            if login.send(&mail).await? {
                return Ok(());
            }
            if !self.has_password {
                return Err(Failure::refusal("the mail server offers no CRAM-MD5, and there is no auth_password"));
            }
        }
        self.transport.send(mail).await.map(|_| ()).map_err(|e| failure(&e))
    }
}

/// Says why a mail was not taken, with all causes.
fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        reason = format!("{reason}: {inner}");
        cause = inner.source();
    }
    if error.is_permanent() { Failure::refusal(reason) } else { Failure::passing(reason) }
}

fn tls(email: &Email) -> Result<TlsParameters, String> {
    let read = |path: &Path| std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
    let mut builder = TlsParameters::builder(email.host.clone());
    if let Some(path) = &email.tls.ca_file {
        let certificates = Certificate::from_pem(&read(path)?).map_err(|e| format!("{}: {e}", path.display()))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificates);
    }
    if let (Some(certificate), Some(key)) = (&email.tls.cert_file, &email.tls.key_file) {
        let identity = Identity::from_pem(&read(certificate)?, &read(key)?);
        builder = builder.identify_with(identity.map_err(|e| format!("{}: {e}", certificate.display()))?);
    }
    builder.dangerous_accept_invalid_certs(email.tls.insecure_skip_verify).build().map_err(|e| e.to_string())
}
