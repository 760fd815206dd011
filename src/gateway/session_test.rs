//! The session as a table: what comes in, what goes out.
