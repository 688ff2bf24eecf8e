//! A Rust file seen three ways: as written, with comments and literals blanked out, and without its tests.
//!
//! Not a parser: a scanner that knows comments, strings, characters and brackets, and is right for formatted code.

/// One Rust file.
pub struct Source {
    /// Path from the top of the repository, with `/`.
    pub path: String,
    /// As written.
    pub text: String,
    /// Comments, strings and characters replaced by spaces; line breaks kept, so offsets and lines are those of `text`.
    pub code: String,
    /// `code` with everything under `#[cfg(test)]` blanked out too.
    pub live: String,
    /// Lines under `#[cfg(test)]`.
    test_lines: usize,
}

/// One function found in a file.
pub struct Function {
    pub name: String,
    /// Lines from `fn` to its closing brace.
    pub lines: usize,
    /// Parameters, `self` not counted.
    pub params: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let code = blank(text);
        let (live, test_lines) = without_tests(text, &code);
        Source { path: path.to_string(), text: text.to_string(), code, live, test_lines }
    }

    /// Lines without those of `#[cfg(test)]` items.
    pub fn lines_without_tests(&self) -> usize {
        self.text.lines().count() - self.test_lines
    }

    /// A file that holds nothing but tests, beside the code it tests.
    pub fn is_tests_module(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/src/tests/") || self.path.contains("_tests.rs")
    }

    /// Every function outside `#[cfg(test)]` that has a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in words(&self.live, "fn") {
            let rest = &self.live[at + 2..];
            let name: String = rest.trim_start().chars().take_while(|c| is_word(*c)).collect();
            if name.is_empty() {
                continue; // the type `fn(…)`
            }
            let Some(open) = params_start(rest) else { continue };
            let Some(close) = matching(rest, open) else { continue };
            let Some(body) = rest[close..].find(['{', ';']).map(|i| close + i) else { continue };
            if rest.as_bytes()[body] == b';' {
                continue; // declared, not defined
            }
            let Some(end) = matching(rest, body) else { continue };
            let lines = rest[..end].matches('\n').count() + 1;
            found.push(Function { name, lines, params: count_params(&rest[open + 1..close]) });
        }
        found
    }

    /// Every struct with named fields outside `#[cfg(test)]`, with their number.
    pub fn structs(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        for at in words(&self.live, "struct") {
            let rest = &self.live[at + 6..];
            let name: String = rest.trim_start().chars().take_while(|c| is_word(*c)).collect();
            let Some(open) = rest.find(['{', ';', '(']) else { continue };
            if rest.as_bytes()[open] != b'{' {
                continue;
            }
            let Some(close) = matching(rest, open) else { continue };
            found.push((name, split_top(&rest[open + 1..close]).len()));
        }
        found
    }

    /// Names that this file declares: (keyword, name).
    pub fn declared(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for keyword in ["mod", "struct", "enum", "trait", "type", "fn", "const", "static"] {
            for at in words(&self.code, keyword) {
                let name: String =
                    self.code[at + keyword.len()..].trim_start().chars().take_while(|c| is_word(*c)).collect();
                if !name.is_empty() {
                    found.push((keyword, name));
                }
            }
        }
        found
    }
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Offsets at which `word` stands alone.
pub fn words(text: &str, word: &str) -> Vec<usize> {
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(|&at| {
            !text[..at].chars().next_back().is_some_and(is_word)
                && !text[at + word.len()..].chars().next().is_some_and(is_word)
        })
        .collect()
}

/// The words inside an identifier: `RangeUtil` and `range_util` both hold `util`.
pub fn parts(identifier: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && out.last().is_some_and(|w| w.ends_with(|p: char| !p.is_uppercase()))) {
            out.push(String::new());
        }
        if c != '_' {
            out.last_mut().expect("never empty").extend(c.to_lowercase());
        }
    }
    out.retain(|w| !w.is_empty());
    out
}

/// Offset of the bracket that closes the one at `open`.
pub fn matching(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, b) in text.bytes().enumerate().skip(open) {
        match b {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Where the parameters of a function begin: the first `(` outside its `<…>`.
fn params_start(rest: &str) -> Option<usize> {
    let mut depth = 0i32;
    let mut previous = b' ';
    for (at, b) in rest.bytes().enumerate() {
        match b {
            b'<' => depth += 1,
            b'>' if previous != b'-' => depth -= 1,
            b'(' if depth == 0 => return Some(at),
            b'{' | b';' => return None,
            _ => {}
        }
        previous = b;
    }
    None
}

/// Splits at commas outside any bracket, `<…>` included; blank pieces are dropped.
fn split_top(list: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut depth, mut start, mut previous) = (0i32, 0, b' ');
    for (at, b) in list.bytes().enumerate() {
        match b {
            b'(' | b'[' | b'{' | b'<' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b'>' if previous != b'-' => depth -= 1,
            b',' if depth == 0 => {
                out.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        previous = b;
    }
    out.push(&list[start..]);
    out.retain(|piece| !piece.trim().is_empty());
    out
}

fn count_params(list: &str) -> usize {
    let is_self = |p: &&str| {
        let p = p.trim().trim_start_matches('&').trim_start();
        let p = p.strip_prefix('\'').map_or(p, |l| l.trim_start_matches(is_word).trim_start());
        let p = p.strip_prefix("mut ").unwrap_or(p).trim_start();
        p == "self" || p.starts_with("self:")
    };
    split_top(list).iter().filter(|p| !is_self(p)).count()
}

/// Replaces comments and literals by spaces, byte for byte.
fn blank(text: &str) -> String {
    let b = text.as_bytes();
    let mut out = b.to_vec();
    let mut at = 0;
    while at < b.len() {
        let end = match b[at] {
            b'/' if b.get(at + 1) == Some(&b'/') => text[at..].find('\n').map_or(b.len(), |n| at + n),
            b'/' if b.get(at + 1) == Some(&b'*') => block_comment_end(text, at),
            b'"' => string_end(b, at),
            b'r' if raw_string(text, at).is_some() => raw_string(text, at).expect("checked by the guard"),
            b'\'' => match character_end(text, at) {
                Some(end) => end,
                None => at + 1, // a lifetime
            },
            _ => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

fn block_comment_end(text: &str, start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    let b = text.as_bytes();
    while at + 1 < b.len() {
        match &b[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    b.len()
}

fn string_end(b: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < b.len() {
        match b[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    b.len()
}

/// `r"…"`, `r#"…"#` and so on; also after `b`.
fn raw_string(text: &str, start: usize) -> Option<usize> {
    let before = text[..start].chars().next_back();
    if before.is_some_and(|c| is_word(c) && c != 'b') {
        return None;
    }
    let rest = &text[start + 1..];
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    if !rest[hashes..].starts_with('"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let body = start + 1 + hashes + 1;
    Some(text[body..].find(&close).map_or(text.len(), |n| body + n + close.len()))
}

/// The end of a character literal, or `None` for a lifetime.
fn character_end(text: &str, start: usize) -> Option<usize> {
    let mut chars = text[start + 1..].char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        let close = text[start + 3..].find('\'')?;
        return Some(start + 3 + close + 1);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(start + 1 + at + 1)
}

/// Blanks every item that stands under `#[cfg(test)]`; returns the number of its lines too.
fn without_tests(text: &str, code: &str) -> (String, usize) {
    let mut live = code.as_bytes().to_vec();
    let (mut from, mut lines) = (0, 0);
    while let Some(at) = text[from..].find("#[cfg(test)]").map(|n| from + n) {
        from = at + 1;
        if code.as_bytes()[at] != b'#' {
            continue; // inside a comment or string
        }
        let Some(stop) = code[at..].find(['{', ';']).map(|n| at + n) else { break };
        let end = if code.as_bytes()[stop] == b';' { stop } else { matching(code, stop).unwrap_or(code.len() - 1) };
        for byte in &mut live[at..=end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        lines += text[at..end].matches('\n').count() + 1;
        from = end;
    }
    (String::from_utf8(live).expect("whole characters were blanked"), lines)
}
