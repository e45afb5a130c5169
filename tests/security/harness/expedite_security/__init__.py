"""What the attacks share: parties with secrets, signature schemes, hand-made requests, texts that try to run."""
