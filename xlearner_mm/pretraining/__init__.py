"""From labeled folders to a backbone in one call: choices, configs, and the jobs that train them."""
