//! Writes one JSON object, key by key: the order and the kind of each value are the provider's own.

/// A JSON object that is being written.
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Self {
        Self(String::with_capacity(256))
    }

    /// A value that is JSON already.
    pub(super) fn raw(&mut self, key: &str, json: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.extend(["\"", key, "\":", json]);
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.raw(key, &quote(text));
    }

    pub(super) fn number(&mut self, key: &str, number: i64) {
        self.raw(key, &number.to_string());
    }

    pub(super) fn list(&mut self, key: &str, numbers: &[i32]) {
        let numbers: Vec<_> = numbers.iter().map(i32::to_string).collect();
        self.raw(key, &format!("[{}]", numbers.join(",")));
    }

    pub(super) fn end(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}

/// Text as a JSON string.
pub(super) fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_its_order_and_escapes_its_text() {
        let mut object = Object::new();
        object.number("b", -1);
        object.text("a", "\"\u{0}\n红");
        object.list("c", &[1, 205]);
        assert_eq!(object.end(), "{\"b\":-1,\"a\":\"\\\"\\u0000\\n红\",\"c\":[1,205]}");
        assert_eq!(Object::new().end(), "{}");
    }
}
