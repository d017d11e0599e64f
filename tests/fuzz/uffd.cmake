pager_fuzz(handshake pager_uffd)
