# `make run` and `make test` are all that a newcomer needs; everything else is for development.
# Each target installs what it needs by itself and costs nothing when there is nothing to do.

PREFIX ?= /usr/local

.PHONY: run test test-full bench lint kernel install setup-run setup-test setup-bench

run: setup-run ## Build everything, boot a microVM, and print from a container in it
	cargo xtask run

test: setup-test ## Run all tests that belong to every change
	cargo xtask test

test-full: setup-bench ## Also run what takes too long for every change
	cargo xtask test --full

bench: setup-bench ## Measure Hull and its peers side by side
	cargo xtask bench

lint: setup-test ## Check formatting, clippy and the licences of all dependencies
	cargo xtask lint

kernel: setup-run ## Build the guest kernel (cached by the hash of its inputs)
	cargo xtask kernel

install: setup-run ## Install hull, hull-vmm, the kernel and the initramfs below PREFIX
	cargo xtask install --prefix $(DESTDIR)$(PREFIX)

setup-run setup-test setup-bench:
	@xtask/setup $(@:setup-%=%)
