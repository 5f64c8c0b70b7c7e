//! Reads values out of a TOML tree that knows where each of them was written.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    place::{Place, Placed},
    problem::Problem,
    suggest::nearest,
};

/// A table of which only certain keys are known.
pub(super) struct Reader<'t> {
    table: &'t DeTable<'t>,
}

pub(super) type Value<'t> = Spanned<DeValue<'t>>;

impl<'t> Reader<'t> {
    /// Takes a table that has no other keys than `known`; `name` is what messages call it.
    pub(super) fn new(
        table: &'t DeTable<'t>,
        name: &str,
        known: &[&'static str],
    ) -> Result<Self, Problem> {
        let unknown = table
            .iter()
            .map(|(key, _)| key)
            .filter(|key| !known.contains(&key.as_ref().as_ref()))
            .min_by_key(|key| key.span().start);
        match unknown {
            Some(key) => Err(unknown_key(key.as_ref(), key.span(), name, known)),
            None => Ok(Self { table }),
        }
    }

    pub(super) fn value(&self, key: &str) -> Option<&'t Value<'t>> {
        self.table.get(key)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<Placed<String>>, Problem> {
        self.value(key).map(text).transpose()
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<Placed<i64>>, Problem> {
        self.value(key).map(integer).transpose()
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, Problem> {
        let read = |value: &Value<'_>| match value.as_ref() {
            DeValue::Boolean(said) => Ok(*said),
            other => Err(wrong_type("true or false", other, value.span())),
        };
        self.value(key).map(read).transpose()
    }

    /// A list of strings; nothing is an empty one.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<Placed<String>>, Problem> {
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(value) => array(value)?.iter().map(text).collect(),
        }
    }

    pub(super) fn table(&self, key: &str) -> Result<Option<&'t DeTable<'t>>, Problem> {
        self.value(key).map(table).transpose()
    }
}

/// The entries of a table in the order in which they were written.
pub(super) fn in_order<'t>(table: &'t DeTable<'t>) -> Vec<(Placed<&'t str>, &'t Value<'t>)> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            (
                Placed::new(key.as_ref().as_ref(), Place::File(key.span())),
                value,
            )
        })
        .collect();
    entries.sort_by_key(|(key, _)| match &key.place {
        Place::File(span) => span.start,
        Place::Flag(_) | Place::Default => 0,
    });
    entries
}

pub(super) fn table<'t>(value: &'t Value<'t>) -> Result<&'t DeTable<'t>, Problem> {
    match value.as_ref() {
        DeValue::Table(table) => Ok(table),
        other => Err(wrong_type("a table", other, value.span())),
    }
}

pub(super) fn array<'t>(value: &'t Value<'t>) -> Result<&'t [Value<'t>], Problem> {
    match value.as_ref() {
        DeValue::Array(array) => Ok(array),
        other => Err(wrong_type("a list", other, value.span())),
    }
}

pub(super) fn text(value: &Value<'_>) -> Result<Placed<String>, Problem> {
    match value.as_ref() {
        DeValue::String(text) => Ok(Placed::new(text.to_string(), place(value))),
        other => Err(wrong_type("a string", other, value.span())),
    }
}

pub(super) fn integer(value: &Value<'_>) -> Result<Placed<i64>, Problem> {
    match value.as_ref() {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| Placed::new(number, place(value)))
            .map_err(|_| Problem::at(&place(value), "this number is too large")),
        other => Err(wrong_type("a whole number", other, value.span())),
    }
}

pub(super) fn place(value: &Value<'_>) -> Place {
    Place::File(value.span())
}

pub(super) fn wrong_type(expected: &str, found: &DeValue<'_>, span: Range<usize>) -> Problem {
    let found = match found {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Problem::at(
        &Place::File(span),
        format!("expected {expected}, found {found}"),
    )
}

fn unknown_key(key: &str, span: Range<usize>, name: &str, known: &[&'static str]) -> Problem {
    let problem = Problem::at(&Place::File(span), format!("unknown key `{key}` in {name}"));
    match nearest(key, known.iter().copied()) {
        Some(meant) => problem.help(format!("did you mean `{meant}`?")),
        None => problem.help(format!("{name} has the keys {}", known.join(", "))),
    }
}
