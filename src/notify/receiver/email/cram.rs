//! Logging in to a mail server by CRAM-MD5: the server asks, and the answer shows that the secret is known without
//! telling it.
//!
//! Source: RFC 2195; RFC 2104 for HMAC.

use std::fmt::{self, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::Ehlo;
use lettre::transport::smtp::extension::ClientId;

use super::failure;
use crate::model::{Secret, md5};
use crate::notify::receiver::Failure;

/// The block that HMAC works on, in bytes.
const BLOCK_BYTES: usize = 64;

/// What is needed to log in.
pub(super) struct Login {
    pub(super) server: (String, u16),
    pub(super) hello: ClientId,
    /// Parameters, and whether the connection begins in TLS; `None`: it has none.
    pub(super) tls: Option<(TlsParameters, bool)>,
    pub(super) user: String,
    pub(super) secret: Secret,
    pub(super) timeout: Duration,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("server", &self.server).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Login {
    /// Sends a mail; `Ok(false)` if the server does not offer to log in like this.
    pub(super) async fn send(&self, mail: &lettre::Message) -> Result<bool, Failure> {
        let mut connection = self.connect().await.map_err(|e| failure(&e))?;
        let outcome = self.talk(&mut connection, mail).await;
        let outcome = outcome.map_err(|e| failure(&e));
        // What was answered counts, however the connection ends.
        let _ = connection.quit().await;
        outcome
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let (implicit, upgrade) = match &self.tls {
            Some((parameters, true)) => (Some(parameters.clone()), None),
            Some((parameters, false)) => (None, Some(parameters.clone())),
            None => (None, None),
        };
        let server = (self.server.0.as_str(), self.server.1);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout), &self.hello, implicit, None).await?;
        if let Some(parameters) = upgrade {
            connection.starttls(parameters, &self.hello).await?;
        }
        Ok(connection)
    }

    async fn talk(&self, connection: &mut AsyncSmtpConnection, mail: &lettre::Message) -> Result<bool, Error> {
        let offers = connection.command(Ehlo::new(self.hello.clone())).await?;
        let offers_it = |line: &str| {
            let mut words = line.split([' ', '=']);
            words.next().is_some_and(|w| w.eq_ignore_ascii_case("AUTH"))
                && words.any(|w| w.eq_ignore_ascii_case("CRAM-MD5"))
        };
        if !offers.message().any(offers_it) {
            return Ok(false);
        }
        let asked = connection.command("AUTH CRAM-MD5\r\n").await?;
        let challenge = STANDARD.decode(asked.first_word().unwrap_or("")).unwrap_or_default();
        let answer = format!("{} {}", self.user, keyed_digest(self.secret.expose().as_bytes(), &challenge));
        connection.command(format!("{}\r\n", STANDARD.encode(answer))).await?;
        connection.send(mail.envelope(), &mail.formatted()).await?;
        Ok(true)
    }
}

/// Returns HMAC-MD5 in hexadecimal.
fn keyed_digest(key: &[u8], text: &[u8]) -> String {
    let digest = md5(key);
    let key = if key.len() > BLOCK_BYTES { &digest[..] } else { key };
    let padded = |with: u8| -> Vec<u8> {
        let zeros = std::iter::repeat_n(&0, BLOCK_BYTES.saturating_sub(key.len()));
        key.iter().chain(zeros).map(|byte| byte ^ with).collect()
    };
    let inner = md5(&[padded(0x36).as_slice(), text].concat());
    let outer = md5(&[padded(0x5c).as_slice(), &inner].concat());
    outer.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_the_standards() {
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(keyed_digest(b"tanstaaftanstaaf", challenge), "b913a602c7eda7a495b4e6e7334d3890");
        // RFC 2202, test case 6: a key longer than a block.
        let text = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(keyed_digest(&[0xaa; 80], text), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
    }
}
