"""What integration and driver tests share: servers, a raw protocol client, a controllable relay."""
