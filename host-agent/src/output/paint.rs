//! Colour, where it is allowed. Nothing is said by colour alone.

/// Colours text, or leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    colour: bool,
}

impl Paint {
    /// Leaves all text as it is.
    pub const PLAIN: Self = Self { colour: false };

    /// Colours when `colour` says so.
    #[must_use]
    pub const fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// For what is well.
    #[must_use]
    pub fn green(self, text: &str) -> String {
        self.sgr("32", text)
    }

    /// For what failed.
    #[must_use]
    pub fn red(self, text: &str) -> String {
        self.sgr("31;1", text)
    }

    /// For what asks for attention.
    #[must_use]
    pub fn yellow(self, text: &str) -> String {
        self.sgr("33", text)
    }

    /// For hints and what is under way.
    #[must_use]
    pub fn cyan(self, text: &str) -> String {
        self.sgr("36", text)
    }

    /// For what matters less.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.sgr("2", text)
    }

    /// For headings.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.sgr("1", text)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
