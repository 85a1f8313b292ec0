"""The same model behind other servers, each as its documentation recommends: one small file a server."""
