//! Makes types that are written as one text into settings.

/// Makes a type that is written as one text a setting: serde by `Display` and `FromStr`, and the rest.
/// With `secret by METHOD` its values are kept out of messages, and METHOD instead of `Display` gives the
/// whole text.
macro_rules! textual {
    ($type:ty, $expects:expr) => {
        $crate::text_forms::textual!(@ $type, $expects, to_string, false);
    };
    ($type:ty, $expects:expr, secret by $plain:ident) => {
        $crate::text_forms::textual!(@ $type, $expects, $plain, true);
    };
    (@ $type:ty, $expects:expr, $plain:ident, $secret:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.$plain())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl $crate::setting::Setting for $type {
            const SECRET: bool = $secret;

            fn expects() -> String {
                String::from($expects)
            }
            fn schema() -> serde_json::Value {
                serde_json::json!({ "type": "string", "description": $expects })
            }
            fn from_text(text: &str) -> Result<Self, $crate::setting::Mismatch> {
                match text.trim() {
                    "" => Err($crate::setting::Mismatch::Empty),
                    text => text.parse(),
                }
            }
            fn from_toml(value: &config::ValueKind) -> Result<Self, $crate::setting::Mismatch> {
                $crate::setting::text_of(value).and_then(Self::from_text)
            }
            fn shown(&self) -> serde_json::Value {
                serde_json::Value::String(self.to_string())
            }
        }
    };
}
pub(crate) use textual;

/// A text that keeps a form: a newtype over `String` whose check gives the text in its one form.
macro_rules! checked_text {
    ($(#[$meta:meta])* $name:ident, $expects:expr, $check:path) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::setting::Mismatch;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $check(text).map(Self)
            }
        }

        $crate::text_forms::textual!($name, $expects);
    };
}
pub(crate) use checked_text;

/// A setting with a few words to choose from.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$word_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$word_meta])* $variant,)+
        }

        impl $name {
            /// The word that chooses it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::setting::Mismatch;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::setting::Mismatch::Malformed("it is none of the words known here")),
                }
            }
        }

        $crate::text_forms::textual!($name, format!("one of {}", [$($word),+].join(", ")));
    };
}
pub(crate) use choice;
