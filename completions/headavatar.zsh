#compdef headavatar

_headavatar_completion() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _HEADAVATAR_COMPLETE=complete_zsh headavatar)
}

compdef _headavatar_completion headavatar
