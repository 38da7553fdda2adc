# What a client needs on macOS: the relay and the administration, built from source. The daemon is for Linux; see README.md.
# A release fills in what stands between at signs.
class Skynet < Formula
  desc "Hands for AI agents: relay and administration of a daemon on Linux"
  homepage "https://github.com/@REPOSITORY@"
  url "https://github.com/@REPOSITORY@/releases/download/v@VERSION@/skynet_@VERSION@_source.tar.gz"
  version "@VERSION@"
  sha256 "@SHA256_SOURCE@"
  license "MIT"

  depends_on "rust" => :build

  def install
    system "cargo", "build", "--locked", "--profile", "dist", "--package", "skynetctl"
    system "cargo", "build", "--locked", "--profile", "shim", "--package", "skynet-shim"
    # Side by side, because skynetctl names the relay beside it to clients.
    libexec.install "target/dist/skynetctl", "target/shim/skynet-shim"
    bin.install_symlink libexec/"skynetctl", libexec/"skynet-shim"
    man1.mkpath
    system bin/"skynetctl", "man", man1
    man1.install "packaging/man/skynet-shim.1"
    generate_completions_from_executable(bin/"skynetctl", "completion")
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/skynetctl --version")
    assert_match "--workspace", shell_output("#{bin}/skynet-shim --help")
    # Nobody answers here, and that has an exit code of its own.
    shell_output("#{bin}/skynetctl --socket #{testpath}/none status", 3)
  end
end
