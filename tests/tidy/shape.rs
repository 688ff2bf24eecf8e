//! Sizes: files, functions, structs, parameters, and how small `base` stays.

use super::{Offence, source::Source};

pub const FILE_LINES: usize = 500;
pub const FUNCTION_LINES: usize = 70;
pub const STRUCT_FIELDS: usize = 20;
pub const PARAMETERS: usize = 5;
pub const BASE_LINES: usize = 1000;

/// Everything that is too large in one file.
pub fn check(file: &Source) -> Vec<Offence> {
    let mut out = Vec::new();
    let lines = file.lines_without_tests();
    if file.is_tests_module() {
        return out;
    }
    if lines > FILE_LINES {
        out.push(Offence::new("file-lines", &file.path, lines, "split it by what changes together"));
    }
    for f in file.functions() {
        let place = format!("{}::{}", file.path, f.name);
        if f.lines > FUNCTION_LINES {
            out.push(Offence::new("function-lines", &place, f.lines, "give its parts names"));
        }
        if f.params > PARAMETERS {
            out.push(Offence::new("parameters", &place, f.params, "a struct says what belongs together"));
        }
    }
    for (name, fields) in file.structs() {
        if fields > STRUCT_FIELDS {
            let place = format!("{}::{name}", file.path);
            out.push(Offence::new("struct-fields", &place, fields, "some of them belong together: give them a type"));
        }
    }
    out
}

/// `base` is words, not a place for whatever fits nowhere.
pub fn check_base<'a>(files: impl Iterator<Item = &'a Source>) -> Vec<Offence> {
    let lines: usize = files.filter(|f| f.path.starts_with("crates/base/src/")).map(Source::lines_without_tests).sum();
    match lines > BASE_LINES {
        true => vec![Offence::new("base-lines", "crates/base", lines, "move what only some crates need to them")],
        false => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(&'static str, usize)> {
        check(&Source::new(path, text)).iter().map(|o| (o.rule, o.number)).collect()
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let long = "const A: u8 = 1;\n".repeat(501);
        assert_eq!(rules("crates/x/src/a.rs", &long), [("file-lines", 501)]);
        let tested = format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n", "    // a line\n".repeat(600));
        assert_eq!(rules("crates/x/src/a.rs", &tested), []);
        assert_eq!(rules("crates/x/src/tests.rs", &long), []);
    }

    #[test]
    fn a_long_function_is_found() {
        let ok = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(68));
        assert_eq!(rules("crates/x/src/a.rs", &ok), []);
        let long = format!("fn a() {{\n{}}}\n", "    b(\"}\");\n".repeat(69));
        assert_eq!(rules("crates/x/src/a.rs", &long), [("function-lines", 71)]);
    }

    #[test]
    fn many_parameters_are_found_and_self_does_not_count() {
        assert_eq!(
            rules("a.rs", "fn a<T: Fn(u8) -> u8>(&mut self, a: u8, b: (u8, u8), c: T, d: M<u8, u8>, e: u8) {}"),
            []
        );
        assert_eq!(rules("a.rs", "fn a(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) -> u8 {}"), [("parameters", 6)]);
    }

    #[test]
    fn a_wide_struct_is_found() {
        let fields = |n: usize| (0..n).map(|i| format!("    f{i}: M<u8, u8>,\n")).collect::<String>();
        assert_eq!(rules("a.rs", &format!("struct A {{\n{}}}\n", fields(20))), []);
        assert_eq!(rules("a.rs", &format!("struct A {{\n{}}}\n", fields(21))), [("struct-fields", 21)]);
    }

    #[test]
    fn a_fat_base_is_found() {
        let fat = Source::new("crates/base/src/a.rs", &"\n".repeat(1001));
        assert_eq!(check_base([&fat].into_iter()).len(), 1);
        let other = Source::new("crates/raft/src/a.rs", &"\n".repeat(1001));
        assert_eq!(check_base([&other].into_iter()).len(), 0);
    }
}
