//! What a tenant's subject says: whose it is, which channel, which pattern.

/// Tokens longer than this are names of something, not of a kind.
const TOKEN_CHARS_MAX: usize = 20;

/// What a subject is to this room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address<'a> {
    /// Traffic of a tenant: `tenant.{id}.>`.
    Traffic { tenant: &'a str },
    /// What the tenant's services say of themselves: `_SYS.tenant.{id}.>`.
    System { tenant: &'a str, event: Event },
    /// A sign of life, in one of three forms.
    Heartbeat { tenant: &'a str, client: &'a str },
}

/// What a service says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Connect,
    Disconnect,
    Error,
    Other,
}

/// Reads a subject; nothing if it is none of a tenant's.
pub(super) fn address(subject: &str) -> Option<Address<'_>> {
    let mut tokens = subject.split('.');
    let mut next = || tokens.next();
    Some(match (next()?, next()?, next(), next(), next(), next()) {
        ("tenant", tenant, Some(_), ..) => Address::Traffic { tenant },
        ("_SYS", "tenant", Some(tenant), Some(_), ..) => Address::System { tenant, event: event(subject) },
        ("_HEARTBEAT" | "_PRESENCE", "tenant", Some(tenant), Some("client"), Some(client), None) => {
            Address::Heartbeat { tenant, client }
        }
        ("_heartbeat", tenant, Some(client), None, ..) => Address::Heartbeat { tenant, client },
        _ => return None,
    })
}

fn event(subject: &str) -> Event {
    // `DISCONNECT` holds `CONNECT`, so it is looked for first.
    [("DISCONNECT", Event::Disconnect), ("CONNECT", Event::Connect), ("ERROR", Event::Error)]
        .into_iter()
        .find(|(word, _)| subject.split('.').any(|token| token.contains(word)))
        .map_or(Event::Other, |(_, event)| event)
}

/// Returns the channel: the fourth token if the third is `channel`.
pub(super) fn channel(subject: &str) -> Option<&str> {
    let mut tokens = subject.split('.').skip(2);
    (tokens.next() == Some("channel")).then(|| tokens.next()).flatten()
}

/// Returns the kind of subject: tokens that are numbers, or too long to be a word, become `*`.
pub(super) fn pattern(subject: &str) -> String {
    let is_name = |token: &str| {
        token.chars().count() > TOKEN_CHARS_MAX || (!token.is_empty() && token.bytes().all(|b| b.is_ascii_digit()))
    };
    let tokens: Vec<&str> = subject.split('.').map(|token| if is_name(token) { "*" } else { token }).collect();
    tokens.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_says_whose_it_is() {
        let traffic = |tenant| Some(Address::Traffic { tenant });
        let beat = |tenant, client| Some(Address::Heartbeat { tenant, client });
        let system = |event| Some(Address::System { tenant: "a", event });
        for (subject, expected) in [
            ("tenant.a.orders", traffic("a")),
            ("tenant.a", None),
            ("tenants.a.orders", None),
            ("_HEARTBEAT.tenant.a.client.c", beat("a", "c")),
            ("_HEARTBEAT.tenant.a.client.c.d", None),
            ("_HEARTBEAT.tenant.a.agent.c", None),
            ("_heartbeat.a.c", beat("a", "c")),
            ("_PRESENCE.tenant.a.client.c", beat("a", "c")),
            ("_SYS.tenant.a.ERROR.db", system(Event::Error)),
            ("_SYS.tenant.a.CLIENT_DISCONNECT", system(Event::Disconnect)),
            ("_SYS.tenant.a.CONNECT", system(Event::Connect)),
            ("_SYS.tenant.a.x", system(Event::Other)),
            ("_SYS.tenant.a", None),
        ] {
            assert_eq!(address(subject), expected, "{subject}");
        }
    }

    #[test]
    fn names_and_numbers_are_folded() {
        assert_eq!(pattern("tenant.a.orders.4711.new"), "tenant.a.orders.*.new");
        assert_eq!(pattern("tenant.a.0f8fad5b-d9cb-469f-a165-70867728950e"), "tenant.a.*");
        assert_eq!(pattern("tenant.a.twenty-one-characters"), "tenant.a.*");
        assert_eq!(pattern("tenant.a.twenty-characters-is"), "tenant.a.twenty-characters-is");
        assert_eq!((channel("tenant.a.channel.news.x"), channel("tenant.a.channels.news")), (Some("news"), None));
    }
}
