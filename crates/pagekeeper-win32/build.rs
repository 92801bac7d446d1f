//! Gives the shared library a versioned name inside, when it is built to be installed (`install.sh`). Without one a program finds
//! it under the name it was linked with, which is right for a library that is used where cargo leaves it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PAGEKEEPER_WIN32_SONAME");
    if let Ok(name) = std::env::var("PAGEKEEPER_WIN32_SONAME") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{name}");
    }
}
