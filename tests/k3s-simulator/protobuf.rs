//! Bodies in Kubernetes' protobuf form, which kubectl from 1.32 on sends for `create` and the like.
//!
//! Only the kinds that kubectl itself composes are described (see [`schema`]). A field that is not
//! described is an error and never dropped: the sender is told to use JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

mod schema;

use schema::{Field, Message, Shape};

const MAGIC: &[u8] = b"k8s\0";
/// Deeper than any described kind.
const DEPTH_LIMIT: usize = 24;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ProtobufError {
    #[error("the body does not begin as Kubernetes protobuf does")]
    NoMagic,
    #[error("the protobuf body is cut off or malformed")]
    Malformed,
    #[error("the k3s simulator does not know the protobuf form of {0}: send JSON or YAML")]
    UnknownKind(String),
    #[error(
        "the k3s simulator does not know protobuf field {number} of {message}: send JSON or YAML"
    )]
    UnknownField { message: &'static str, number: u64 },
}

/// The object in an `application/vnd.kubernetes.protobuf` body, as JSON.
pub(crate) fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?;
    let (mut kind, mut api_version, mut raw) = (String::new(), String::new(), &[][..]);
    for entry in Reader(envelope) {
        match entry? {
            (1, Wire::Bytes(type_meta)) => {
                for entry in Reader(type_meta) {
                    match entry? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let message = schema::kind(&kind).ok_or_else(|| ProtobufError::UnknownKind(kind.clone()))?;
    let mut object = object(message, raw, 0)?;
    object.insert("kind".to_owned(), json!(kind));
    object.insert("apiVersion".to_owned(), json!(api_version));
    Ok(Value::Object(object))
}

fn object(
    message: &Message,
    bytes: &[u8],
    depth: usize,
) -> Result<Map<String, Value>, ProtobufError> {
    if depth > DEPTH_LIMIT {
        return Err(ProtobufError::Malformed);
    }
    let mut fields = Map::new();
    for entry in Reader(bytes) {
        let (number, wire) = entry?;
        let field = message
            .fields
            .iter()
            .find(|field| u64::from(field.number) == number);
        let unknown = ProtobufError::UnknownField {
            message: message.name,
            number,
        };
        put(&mut fields, field.ok_or(unknown)?, &wire, depth)?;
    }
    Ok(fields)
}

fn put(
    fields: &mut Map<String, Value>,
    field: &Field,
    wire: &Wire<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let name = field.name.to_owned();
    match (field.shape, wire) {
        (Shape::Ignored, _) => {}
        (Shape::Text, Wire::Bytes(bytes)) => {
            if !bytes.is_empty() {
                fields.insert(name, json!(utf8(bytes)?));
            }
        }
        (Shape::Texts, Wire::Bytes(bytes)) => append(fields, name, json!(utf8(bytes)?)),
        // Fields that are not pointers are always on the wire: zero and false mean that they are absent.
        (Shape::Number, Wire::Number(0)) | (Shape::Flag, Wire::Number(0)) => {}
        (Shape::Number | Shape::OptionalNumber, Wire::Number(value)) => {
            fields.insert(name, json!(value.cast_signed()));
        }
        (Shape::Flag | Shape::OptionalFlag, Wire::Number(value)) => {
            fields.insert(name, json!(*value != 0));
        }
        (Shape::Object(message), Wire::Bytes(bytes)) => {
            fields.insert(name, Value::Object(object(message, bytes, depth + 1)?));
        }
        (Shape::Objects(message), Wire::Bytes(bytes)) => {
            append(
                fields,
                name,
                Value::Object(object(message, bytes, depth + 1)?),
            );
        }
        (Shape::Inline(message), Wire::Bytes(bytes)) => {
            fields.extend(object(message, bytes, depth + 1)?);
        }
        (Shape::TextMap, Wire::Bytes(bytes)) => {
            insert(fields, name, bytes, |value| Ok(json!(utf8(value)?)))?;
        }
        (Shape::BytesMap, Wire::Bytes(bytes)) => insert(fields, name, bytes, |value| {
            Ok(json!(STANDARD.encode(value)))
        })?,
        (Shape::QuantityMap, Wire::Bytes(bytes)) => insert(fields, name, bytes, quantity)?,
        (Shape::IntOrString, Wire::Bytes(bytes)) => {
            fields.insert(name, int_or_string(bytes)?);
        }
        (Shape::Time, Wire::Bytes([])) => {}
        _ => return Err(ProtobufError::Malformed),
    }
    Ok(())
}

fn append(fields: &mut Map<String, Value>, name: String, value: Value) {
    if let Value::Array(items) = fields.entry(name).or_insert_with(|| json!([])) {
        items.push(value);
    }
}

/// One entry of a map: key 1, value 2, either absent when empty.
fn insert(
    fields: &mut Map<String, Value>,
    name: String,
    entry: &[u8],
    decode: impl Fn(&[u8]) -> Result<Value, ProtobufError>,
) -> Result<(), ProtobufError> {
    let (mut key, mut value) = (String::new(), &[][..]);
    for part in Reader(entry) {
        match part? {
            (1, Wire::Bytes(bytes)) => key = utf8(bytes)?,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => return Err(ProtobufError::Malformed),
        }
    }
    let value = decode(value)?;
    if let Value::Object(map) = fields.entry(name).or_insert_with(|| json!({})) {
        map.insert(key, value);
    }
    Ok(())
}

fn quantity(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let mut text = String::new();
    for part in Reader(bytes) {
        if let (1, Wire::Bytes(bytes)) = part? {
            text = utf8(bytes)?;
        }
    }
    Ok(json!(text))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for part in Reader(bytes) {
        match part? {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(bytes)) => text = utf8(bytes)?,
            _ => return Err(ProtobufError::Malformed),
        }
    }
    Ok(if is_text { json!(text) } else { json!(number) })
}

fn utf8(bytes: &[u8]) -> Result<String, ProtobufError> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| ProtobufError::Malformed)
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message in the order in which they were written.
struct Reader<'a>(&'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u64, Wire<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(ProtobufError::Malformed))
    }
}

impl<'a> Reader<'a> {
    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Wire::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, wire))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut written = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        written.extend_from_slice(bytes);
        written
    }

    fn envelope(kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &type_meta), field(2, raw)].concat()
    }

    #[test]
    fn a_config_map_is_read() {
        let metadata = [
            field(1, b"x"),
            field(2, b""),
            field(8, b""),
            vec![7 << 3, 0],
        ]
        .concat();
        let entry = [field(1, b"k"), field(2, b"v")].concat();
        let raw = [field(1, &metadata), field(2, &entry)].concat();
        assert_eq!(
            decode(&envelope("ConfigMap", &raw)).unwrap(),
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}, "data": {"k": "v"}})
        );
    }

    #[test]
    fn what_is_not_described_is_refused_by_name() {
        assert_eq!(decode(b"{}"), Err(ProtobufError::NoMagic));
        assert_eq!(
            decode(&envelope("Pie", b"")),
            Err(ProtobufError::UnknownKind("Pie".to_owned()))
        );
        let error = decode(&envelope("ConfigMap", &field(15, b""))).unwrap_err();
        assert_eq!(
            error,
            ProtobufError::UnknownField {
                message: "ConfigMap",
                number: 15
            }
        );
    }

    #[test]
    fn every_cut_is_an_error_or_a_smaller_object_and_never_a_panic() {
        let raw = [
            field(1, &field(1, b"name")),
            field(2, &[field(1, b"k"), field(2, b"v")].concat()),
        ]
        .concat();
        let whole = envelope("ConfigMap", &raw);
        for length in 0..whole.len() {
            assert_ne!(
                decode(&whole[..length]).ok(),
                decode(&whole).ok(),
                "{length}"
            );
        }
        assert_eq!(
            decode(&[MAGIC, &[0xff; 20]].concat()),
            Err(ProtobufError::Malformed)
        );
    }
}
