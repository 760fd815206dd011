//! Silences: for a while nobody is told of the alarms that match.

use rusqlite::{Row, params};

use super::{Error, Result, State};
use crate::model::{MatchOp, Matcher, Silence, Timestamp};

/// The silences, also those that are over and not yet forgotten.
#[derive(Debug)]
pub struct Silences<'a>(pub(super) &'a State);

impl Silences<'_> {
    /// Writes silences; one with the same id is replaced. All or none.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn save(&self, silences: &[Silence]) -> Result<()> {
        self.0.with(|c| {
            let transaction = c.transaction()?;
            for s in silences {
                transaction.execute(
                    "INSERT INTO silences (id, matchers, starts_at, ends_at, updated_at, created_by, comment) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET \
                     matchers = excluded.matchers, starts_at = excluded.starts_at, ends_at = excluded.ends_at, \
                     updated_at = excluded.updated_at, created_by = excluded.created_by, comment = excluded.comment",
                    params![
                        s.id,
                        encode(&s.matchers),
                        s.starts_at.as_millis(),
                        s.ends_at.as_millis(),
                        s.updated_at.as_millis(),
                        s.created_by,
                        s.comment
                    ],
                )?;
            }
            transaction.commit()
        })
    }

    /// Returns all of them, by id.
    ///
    /// # Errors
    /// See [`Error`]; also when a row cannot be read.
    pub fn list(&self) -> Result<Vec<Silence>> {
        let sql = "SELECT id, matchers, starts_at, ends_at, updated_at, created_by, comment FROM silences ORDER BY id";
        let rows =
            self.0.with(|c| c.prepare_cached(sql)?.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>())?;
        let decode = |(silence, matchers): (Silence, String)| {
            let fail = |reason: String| Error::Row { table: "silences", key: silence.id.clone(), reason };
            let matchers = decode(&matchers).map_err(fail)?;
            Ok(Silence { matchers, ..silence })
        };
        rows.into_iter().map(decode).collect()
    }

    /// Forgets what was over before `time`; returns how many.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn prune(&self, time: Timestamp) -> Result<usize> {
        self.0.with(|c| c.execute("DELETE FROM silences WHERE ends_at < ?1", [time.as_millis()]))
    }
}

/// Reads a row; its matchers are still text.
fn read(row: &Row<'_>) -> rusqlite::Result<(Silence, String)> {
    let silence = Silence {
        id: row.get(0)?,
        matchers: Vec::new(),
        starts_at: Timestamp::from_millis(row.get(2)?),
        ends_at: Timestamp::from_millis(row.get(3)?),
        updated_at: Timestamp::from_millis(row.get(4)?),
        created_by: row.get(5)?,
        comment: row.get(6)?,
    };
    Ok((silence, row.get(1)?))
}

fn encode(matchers: &[Matcher]) -> String {
    let triples: Vec<[&str; 3]> = matchers.iter().map(|m| [m.name(), m.op().as_str(), m.value()]).collect();
    serde_json::json!(triples).to_string()
}

fn decode(text: &str) -> std::result::Result<Vec<Matcher>, String> {
    let triples: Vec<(String, String, String)> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let matcher = |(name, op, value): (String, String, String)| {
        let op = MatchOp::parse(&op).ok_or_else(|| format!("no operator: {op:?}"))?;
        Matcher::new(&name, op, &value).map_err(|e| e.to_string())
    };
    triples.into_iter().map(matcher).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse_matchers;

    fn silence(id: &str, ends_at: i64) -> Silence {
        Silence {
            id: id.to_owned(),
            matchers: parse_matchers("a=\"ü\\\"\", b!=c, c=~\"x|y\", d!~z").unwrap(),
            starts_at: Timestamp::from_millis(1),
            ends_at: Timestamp::from_millis(ends_at),
            updated_at: Timestamp::from_millis(3),
            created_by: "eva".to_owned(),
            comment: "jam".to_owned(),
        }
    }

    #[test]
    fn silences_come_back_as_they_were_until_they_are_forgotten() {
        let state = State::in_memory();
        state.silences().save(&[silence("b", 10), silence("a", 20)]).unwrap();
        let longer = silence("b", 15);
        state.silences().save(std::slice::from_ref(&longer)).unwrap();
        assert_eq!(state.silences().list().unwrap(), [silence("a", 20), longer]);
        assert_eq!(state.silences().prune(Timestamp::from_millis(20)).unwrap(), 1);
        assert_eq!(state.silences().list().unwrap(), [silence("a", 20)]);
    }
}
