//! What is wrong with a configuration, shown at the line and column where it was said.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};
use thiserror::Error;

use super::place::Place;
use crate::{
    error::{CommandError, Kind},
    sanitize,
};

/// Columns of a report that goes where no terminal tells its width.
const DEFAULT_WIDTH: usize = 80;

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    source: Option<Arc<SourceText>>,
    problem: Box<Problem>,
}

/// A file's path and text, kept for reports.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SourceText {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// What is wrong, not yet bound to the file it was found in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub(super) struct Problem {
    pub(super) kind: Kind,
    message: String,
    labels: Vec<(Range<usize>, String)>,
    help: Option<String>,
}

impl Problem {
    /// A problem that no place is to blame for.
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            labels: Vec::new(),
            help: None,
        }
    }

    /// Bad input that was said at `place`; a flag is named in the message.
    pub(super) fn at(place: &Place, message: impl Into<String>) -> Self {
        let message = match place {
            Place::Flag(flag) => format!("{flag}: {}", message.into()),
            Place::File(_) | Place::Default => message.into(),
        };
        Self::new(Kind::BadInput, message).and_at(place, "")
    }

    /// Bad input that two places are to blame for, each with the words that it is shown with.
    pub(super) fn at_two(message: String, ours: (&Place, &str), theirs: (&Place, &str)) -> Self {
        let mut problem = Self::at(ours.0, message);
        problem.labels.clear();
        problem.and_at(ours.0, ours.1).and_at(theirs.0, theirs.1)
    }

    /// Points at one more place, in a few words.
    pub(super) fn and_at(mut self, place: &Place, label: impl Into<String>) -> Self {
        if let Place::File(span) = place {
            self.labels.push((span.clone(), label.into()));
        }
        self
    }

    /// Says what to do about it.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn in_source(self, source: Option<&Arc<SourceText>>) -> ConfigError {
        ConfigError {
            source: source.cloned(),
            problem: Box::new(self),
        }
    }
}

/// How a report is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// With ANSI colours.
    pub colour: bool,
    /// With box-drawing characters, else ASCII only.
    pub unicode: bool,
    /// Columns.
    pub width: usize,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            colour: false,
            unicode: true,
            width: DEFAULT_WIDTH,
        }
    }
}

impl ConfigError {
    /// Class, which decides the exit code.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.problem.kind
    }

    /// The file, line and column (both from 1) that is to blame, when one is.
    #[must_use]
    pub fn location(&self) -> Option<(&Path, usize, usize)> {
        let source = self.source.as_deref()?;
        let (span, _) = self.problem.labels.first()?;
        let before = source.text.get(..span.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before
            .chars()
            .rev()
            .take_while(|&character| character != '\n')
            .count()
            + 1;
        Some((&source.path, line, column))
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.problem.help.as_deref()
    }

    /// The whole report: what is wrong, the offending text underlined, what to do.
    #[must_use]
    pub fn report(&self, look: Look) -> String {
        let message = sanitize::line(&self.problem.message);
        draw(
            &self.diagnostic(message, self.problem.help.as_deref()),
            look,
        )
    }

    /// The offending text, underlined, a line each; nothing when no text is to blame.
    #[must_use]
    pub fn excerpt(&self, look: Look) -> Vec<String> {
        if self.source.is_none() || self.problem.labels.is_empty() {
            return Vec::new();
        }
        let drawn = draw(&self.diagnostic(String::new(), None), look);
        drawn.lines().skip(1).map(str::to_owned).collect()
    }

    fn diagnostic<'a>(&'a self, message: String, help: Option<&'a str>) -> Drawn<'a> {
        let source = self.source.as_deref().map(|source| {
            let name = sanitize::line(&source.path.display().to_string());
            NamedSource::new(name, same_length(&source.text))
        });
        Drawn {
            message,
            labels: &self.problem.labels,
            help,
            source,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((path, line, column)) = self.location() {
            write!(formatter, "{}:{line}:{column}: ", path.display())?;
        }
        formatter.write_str(&sanitize::line(&self.problem.message))
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        let help = error.help().map(str::to_owned);
        let tail = error.excerpt(Look::default());
        let command_error = Self {
            tail,
            ..Self::new(error.kind(), error)
        };
        match help {
            Some(help) => command_error.hint(help),
            None => command_error,
        }
    }
}

/// A problem in the shape that miette draws.
#[derive(Debug)]
struct Drawn<'a> {
    message: String,
    labels: &'a [(Range<usize>, String)],
    help: Option<&'a str>,
    source: Option<NamedSource<String>>,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl Diagnostic for Drawn<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let labels = self.labels.iter().map(|(span, text)| {
            let text = Some(text.clone()).filter(|text| !text.is_empty());
            LabeledSpan::new(text, span.start, span.len())
        });
        Some(Box::new(labels))
    }
}

fn draw(diagnostic: &Drawn<'_>, look: Look) -> String {
    let theme = match (look.unicode, look.colour) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::unicode_nocolor(),
        (false, true) => GraphicalTheme {
            characters: GraphicalTheme::ascii().characters,
            ..GraphicalTheme::unicode()
        },
        (false, false) => GraphicalTheme::none(),
    };
    let mut drawn = String::new();
    let written = GraphicalReportHandler::new_themed(theme)
        .with_width(look.width)
        .with_links(false)
        .without_syntax_highlighting()
        .render_report(&mut drawn, diagnostic);
    match written {
        Ok(()) => drawn,
        Err(fmt::Error) => diagnostic.to_string(),
    }
}

/// `text` with every character that could harm a terminal replaced by as many question marks as
/// it has bytes, so that spans stay true.
fn same_length(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' || character == '\t' || is_harmless(character) {
            safe.push(character);
        } else if character == '\r' {
            safe.push(' ');
        } else {
            safe.extend(std::iter::repeat_n('?', character.len_utf8()));
        }
    }
    safe
}

fn is_harmless(character: char) -> bool {
    let plain = character == ' ' || character.is_ascii_graphic();
    plain || sanitize::line(character.encode_utf8(&mut [0; 4])).contains(character)
}
