"""Every kernel in plain torch: any device, any floating dtype, gradients by autograd. The oracle of the others."""
