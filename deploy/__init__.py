"""What puts the studio on the internet: a Space, a container, a proxy. See docs/hosting.md."""
