//! Compiles `/proto` without an installed protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Cargo runs this in the folder of the crate. A path fixed when this was compiled would outlive the checkout it was
    // compiled in, because checkouts share a target directory.
    let root = std::path::Path::new("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for folder in ["etcd", "flotilla"] {
        for entry in std::fs::read_dir(root.join(folder))? {
            let name = format!("{folder}/{}", entry?.file_name().to_string_lossy());
            if name.ends_with(".proto") {
                files.push(name);
            }
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [root])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
