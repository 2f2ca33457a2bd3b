"""Where the system runs: work pools, images, Azure resources, and the twin of Azure that rehearses them."""
