//! Enums whose numbers on the wire are written down, not counted.

/// Declares a field-less enum that travels as one byte with explicit numbers. An unknown number
/// is a decode error, so a new value needs a new capability.
macro_rules! wire_enum {
    (
        $(#[$outer:meta])*
        pub enum $name:ident {
            $($(#[$inner:meta])* $variant:ident = $number:literal => $text:literal,)*
        }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$inner])* #[serde(rename = $text)] $variant = $number,)*
        }

        impl $name {
            /// Every value, in the order of its numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word that people write and read.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => {
                        let known: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                        Err(format!("`{text}` is none of {}", known.join(", ")))
                    }
                }
            }
        }

        impl bincode::Encode for $name {
            fn encode<E: bincode::enc::Encoder>(
                &self,
                encoder: &mut E,
            ) -> Result<(), bincode::error::EncodeError> {
                (*self as u8).encode(encoder)
            }
        }

        impl<Context> bincode::Decode<Context> for $name {
            fn decode<D: bincode::de::Decoder<Context = Context>>(
                decoder: &mut D,
            ) -> Result<Self, bincode::error::DecodeError> {
                match u8::decode(decoder)? {
                    $($number => Ok(Self::$variant),)*
                    unknown => Err(bincode::error::DecodeError::OtherString(format!(
                        concat!("unknown ", stringify!($name), " number {}"),
                        unknown
                    ))),
                }
            }
        }

        bincode::impl_borrow_decode!($name);
    };
}

pub(super) use wire_enum;
