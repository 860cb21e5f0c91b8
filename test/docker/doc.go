// Package docker has the tests of the image and of the compose files; see README.md for what they promise. They
// build the image once, run it under Compose as a user would, with a simulated Telegram on Docker's bridge, and
// remove everything that they made. Without Docker only the files themselves are checked.
package docker
