#!/bin/sh
# Installs the headers, both libraries and the pkg-config file:
#
#     PREFIX=/usr/local sh crates/pagekeeper-win32/install.sh
#
# PREFIX   where (default /usr/local); headers go to a folder of their own, so that they are in nobody's way
# LIBDIR   where the libraries go (default PREFIX/lib)
# DESTDIR  is put in front of all that, for packages
# BUILT    a folder with both libraries, to install these instead of building them
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$here/../..
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
soname=libpagekeeper_win32.so.${version%%.*}
prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-$prefix/lib}
includedir=$prefix/include/pagekeeper
destination=${DESTDIR:-}

if [ -z "${BUILT:-}" ]; then
    target=${CARGO_TARGET_DIR:-$root/target}/install
    PAGEKEEPER_WIN32_SONAME=$soname cargo build --release -p pagekeeper-win32 \
        --manifest-path "$root/Cargo.toml" --target-dir "$target"
    BUILT=$target/release
fi

install -d "$destination$libdir/pkgconfig" "$destination$includedir"
install -m 755 "$BUILT/libpagekeeper_win32.so" "$destination$libdir/libpagekeeper_win32.so.$version"
ln -sf "libpagekeeper_win32.so.$version" "$destination$libdir/$soname"
ln -sf "$soname" "$destination$libdir/libpagekeeper_win32.so"
install -m 644 "$BUILT/libpagekeeper_win32.a" "$destination$libdir/"
install -m 644 "$here"/include/*.h "$destination$includedir/"
sed -e "s|@prefix@|$prefix|" -e "s|@libdir@|$libdir|" -e "s|@includedir@|$includedir|" \
    -e "s|@version@|$version|" "$here/pagekeeper-win32.pc.in" \
    > "$destination$libdir/pkgconfig/pagekeeper-win32.pc"
echo "installed to $destination$prefix; use: cc prog.c \$(pkg-config --cflags --libs pagekeeper-win32)"
